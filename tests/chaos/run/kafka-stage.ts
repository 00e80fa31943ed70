import { startCluster } from '../../support/cluster.ts';
import { stopTestKafka } from '../../support/kafka.ts';
import { type TcpProxy, tcpProxy } from '../../support/tcp-proxy.ts';
import { networkFaults } from './faults/network.ts';
import { replicaFaults } from './faults/replicas.ts';
import { mosquittoKill, serverFaults } from './faults/servers.ts';
import type { RunFolder } from './run-folder.ts';
import type { Stage } from './stage.ts';

const REPLICAS = 2;

/** Replicas on Kafka, Mosquitto and PostgreSQL behind PgBouncer, with a proxy on each way. */
export async function startKafkaStage(folder: RunFolder): Promise<Stage> {
  const cluster = await startCluster();
  const ways: TcpProxy[] = [];
  const close = async () => {
    await cluster.close();
    await Promise.all(ways.map((way) => way.close()));
    await stopTestKafka();
  };
  try {
    const { server } = cluster.kafka;
    if (server === null)
      throw new Error('KAFKA_BROKERS is set: the broker to kill must be its own');
    const way = async (url: string) => {
      const made = await tcpProxy(url);
      ways.push(made);
      return made;
    };
    const devices = await way(cluster.mosquitto.url);
    const bridge = await way(cluster.mosquitto.url);
    const pooler = await way(cluster.pgbouncer.url);
    const direct = await way(cluster.databaseUrl);
    const settings = {
      MQTT_URL: bridge.url,
      DATABASE_URL: pooler.url,
      DATABASE_DIRECT_URL: direct.url,
      DATA_DIR: `${folder.path}/data`,
    };
    const join = () => cluster.join(settings);
    // One after the other, as the first one makes the tables.
    const first = await join();
    for (let n = 1; n < REPLICAS; n++) await join();
    const permanent = [...cluster.replicas];
    return {
      name: 'kafka',
      url: first.graphqlUrl,
      mqttUrl: devices.url,
      faults: [
        ...replicaFaults({ cluster, permanent, join }),
        ...serverFaults(cluster, server),
        ...networkFaults('devices to Mosquitto', devices),
        ...networkFaults('replicas to Mosquitto', bridge),
        ...networkFaults('replicas to PgBouncer', pooler),
        ...networkFaults('replicas to PostgreSQL', direct),
      ],
      beyond: mosquittoKill(cluster),
      skipped: [],
      pids: () => cluster.replicas.filter((replica) => replica.isAlive()).map(({ pid }) => pid),
      logs: () => cluster.replicas.map((replica) => replica.log()).join('\n'),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
