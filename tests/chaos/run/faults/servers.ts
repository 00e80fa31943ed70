import type { Cluster } from '../../../support/cluster.ts';
import type { KafkaServer } from '../../../support/kafka-server.ts';
import { type Fault, healed } from '../fault.ts';

/** The servers around the replicas. */
export function serverFaults(cluster: Cluster, kafka: KafkaServer): Fault[] {
  return [
    {
      name: 'kill -9 of PostgreSQL',
      targets: ['postgres'],
      holdMs: [0, 0],
      async inject() {
        await cluster.restartPostgres('SIGKILL');
        return healed;
      },
    },
    {
      name: 'kill -9 of PgBouncer',
      targets: ['pgbouncer'],
      holdMs: [0, 2_000],
      async inject() {
        await cluster.pgbouncer.stop();
        return () => cluster.pgbouncer.start();
      },
    },
    {
      name: 'kill -9 of the Kafka broker',
      targets: ['kafka'],
      holdMs: [0, 3_000],
      async inject() {
        await kafka.stop('SIGKILL');
        return () => kafka.start();
      },
    },
    {
      name: 'Mosquitto stopped and started',
      targets: ['mosquitto'],
      holdMs: [500, 4_000],
      async inject() {
        await cluster.mosquitto.stop();
        return () => cluster.mosquitto.start();
      },
    },
  ];
}

/** Not of the verdict: what it had acknowledged and not yet delivered goes with it. */
export function mosquittoKill({ mosquitto }: Cluster): Fault {
  return {
    name: 'kill -9 of Mosquitto',
    targets: ['mosquitto'],
    holdMs: [0, 1_000],
    async inject() {
      await mosquitto.stop('SIGKILL');
      return () => mosquitto.start();
    },
  };
}
