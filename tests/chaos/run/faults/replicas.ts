import { integerBetween, type Random } from '../../../../src/loadtest/random.ts';
import type { Cluster, Replica } from '../../../support/cluster.ts';
import { type Fault, healed, patiently, revive, stall } from '../fault.ts';

/** Replicas that stay, which `permanent` names, and one that comes and goes. */
export function replicaFaults(options: {
  cluster: Cluster;
  permanent: readonly Replica[];
  join(): Promise<Replica>;
}): Fault[] {
  const { cluster, permanent, join } = options;
  const targets = ['replicas'];
  const anyOf = (random: Random) =>
    permanent[integerBetween(random, 0, permanent.length - 1)] as Replica;
  const back = (replica: Replica) =>
    revive({ restart: () => replica.restart(), kill: () => replica.kill9() });
  return [
    {
      name: 'kill -9 of a replica',
      targets,
      holdMs: [0, 5_000],
      async inject(random) {
        const replica = anyOf(random);
        await replica.kill9();
        return () => back(replica);
      },
    },
    {
      name: 'graceful stop and start of a replica',
      targets,
      holdMs: [0, 3_000],
      async inject(random) {
        const replica = anyOf(random);
        await replica.stop();
        return () => back(replica);
      },
    },
    {
      name: 'a replica stands still, again and again',
      targets,
      holdMs: [0, 0],
      async inject(random) {
        await stall(anyOf(random).pid, random);
        return healed;
      },
    },
    {
      name: 'a replica joins and leaves',
      targets: ['joining'],
      holdMs: [1_000, 8_000],
      async inject(random) {
        const replica = await join().catch(async () => {
          const made = cluster.replicas.at(-1) as Replica;
          await made.kill9();
          await back(made);
          return made;
        });
        const leavesWithoutWord = random() < 0.5;
        return () => (leavesWithoutWord ? replica.kill9() : replica.stop());
      },
    },
    {
      name: "the group's offsets are reset to the start",
      targets: ['replicas', 'joining', 'kafka'],
      holdMs: [0, 0],
      async inject() {
        await Promise.all(permanent.map((replica) => replica.stop()));
        return async () => {
          try {
            await patiently(() => toTheStart(cluster), 90_000);
          } finally {
            await Promise.all(permanent.map(back));
          }
        };
      },
    },
  ];
}

/** Fails while the group has a member that nobody has missed yet. */
async function toTheStart({ kafka, groupId, topic }: Cluster): Promise<void> {
  const offsets = await kafka.admin.fetchTopicOffsets(topic);
  const partitions = offsets.map(({ partition, low }) => ({ partition, offset: low }));
  await kafka.admin.setOffsets({ groupId, topic, partitions });
}
