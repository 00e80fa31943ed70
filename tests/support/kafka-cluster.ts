import {
  createKafkaNode,
  freePorts,
  type KafkaNode,
  makeNodeFolder,
  newClusterId,
  quickJvm,
} from './kafka-node.ts';

/** Three brokers of real Apache Kafka in KRaft mode, each a controller too, on loopback. */
export interface KafkaBrokers {
  /** `host:port` of each. */
  brokers: string[];
  /** By the id that the cluster knows it by. */
  node(id: number): KafkaNode;
  /** Stops all and removes their folders. */
  remove(): Promise<void>;
}

const IDS = [1, 2, 3];

/**
 * Topics have three replicas, of which two must have a record before it is acknowledged; one group
 * coordinator, the leader of `__consumer_offsets`. Up in about 8 s.
 */
export async function startKafkaBrokers(): Promise<KafkaBrokers> {
  const ports = await freePorts(2 * IDS.length);
  const members = IDS.map((id, i) => ({
    id,
    port: ports[2 * i] as number,
    controller: ports[2 * i + 1] as number,
  }));
  const voters = members.map(({ id, controller }) => `${id}@127.0.0.1:${controller}`).join(',');
  const clusterId = newClusterId();
  const nodes = new Map<number, KafkaNode>();
  const remove = async () => {
    await Promise.all([...nodes.values()].map((node) => node.remove()));
  };
  try {
    for (const { id, port, controller } of members) {
      const folder = makeNodeFolder();
      const properties = brokerProperties({ folder, id, port, controller, voters });
      nodes.set(id, createKafkaNode({ folder, properties, clusterId, port, jvm: quickJvm(256) }));
    }
    await Promise.all([...nodes.values()].map((node) => node.start()));
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    brokers: members.map(({ port }) => `127.0.0.1:${port}`),
    node(id) {
      const node = nodes.get(id);
      if (node === undefined) throw new Error(`no broker ${id}`);
      return node;
    },
    remove,
  };
}

/** A killed broker's partitions move when its session has ended: 9 s by default. */
function brokerProperties(options: {
  folder: string;
  id: number;
  port: number;
  controller: number;
  voters: string;
}): string {
  const { folder, id, port, controller, voters } = options;
  return `
process.roles=broker,controller
node.id=${id}
controller.quorum.voters=${voters}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=${folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
`;
}
