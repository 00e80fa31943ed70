import type { Admin, Kafka } from 'kafkajs';
import { LogUnavailable } from '../../domain/log.ts';
import { withDeadline } from '../retry.ts';

/** What lanes ask of the cluster when they take up a partition. */
export interface KafkaAdmin {
  /**
   * The group's next offset; null where it has none.
   *
   * @throws LogUnavailable
   */
  committed(partition: number): Promise<number | null>;
  /** @throws LogUnavailable */
  range(partition: number): Promise<{ earliest: number; end: number }>;
  /** @throws LogUnavailable */
  ends(): Promise<ReadonlyMap<number, number>>;
  /** @throws LogUnavailable */
  partitions(): Promise<number>;
  close(): Promise<void>;
}

const EARLIEST = -2;
const ATTEMPTS = 2;
const DEADLINE_MS = 20_000;

/**
 * Each question goes to the broker. An admin client of kafkajs keeps a connection that has died and
 * never sees partitions that were added, so after a failure the question is put by a new one.
 */
export function createKafkaAdmin(
  kafka: Kafka,
  options: { topic: string; groupId: string },
): KafkaAdmin {
  const { topic, groupId } = options;
  let current: Promise<Admin> | null = null;
  let closed = false;

  async function connect(): Promise<Admin> {
    const admin = kafka.admin();
    await admin.connect();
    return admin;
  }

  async function replace(used: Promise<Admin> | null): Promise<void> {
    if (current === used) current = null;
    const admin = await used?.catch(() => null);
    await admin?.disconnect().catch(() => {});
  }

  async function ask<T>(what: string, question: (admin: Admin) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      if (closed) throw new LogUnavailable(`${what}: the source is closed`);
      current ??= connect();
      const used = current;
      try {
        return await withDeadline(used.then(question), DEADLINE_MS, what);
      } catch (error) {
        void replace(used);
        if (attempt < ATTEMPTS) continue;
        throw new LogUnavailable(`${what}: ${(error as Error).message}`, { cause: error });
      }
    }
  }

  return {
    committed: (partition) =>
      ask('reading the committed offset', async (admin) => {
        const [found] = await admin.fetchOffsets({ groupId, topics: [topic] });
        const offset = found?.partitions.find((one) => one.partition === partition)?.offset;
        // What kafkajs' resetOffsets commits for "the earliest". A broker's answer for none is -1.
        if (Number(offset) === EARLIEST) return 0;
        return offset === undefined || Number(offset) < 0 ? null : Number(offset);
      }),
    range: (partition) =>
      ask('reading the range of offsets', async (admin) => {
        const offsets = await admin.fetchTopicOffsets(topic);
        const found = offsets.find((one) => one.partition === partition);
        if (found === undefined) throw new Error(`${topic} has no partition ${partition} yet`);
        return { earliest: Number(found.low), end: Number(found.high) };
      }),
    ends: () =>
      ask('reading the ends of the partitions', async (admin) => {
        const offsets = await admin.fetchTopicOffsets(topic);
        return new Map(offsets.map(({ partition, high }) => [partition, Number(high)]));
      }),
    partitions: () =>
      ask('counting the partitions', async (admin) => {
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
        return topics[0]?.partitions.length ?? 0;
      }),
    async close() {
      closed = true;
      await replace(current);
    },
  };
}
