import type { Consumer, EachBatchPayload, PartitionAssigner } from 'kafkajs';
import type { Logger } from 'pino';
import type { LogHealth, PartitionReader, Source } from '../../domain/log.ts';
import { backoffMs, DeadlineError, sleep, withDeadline } from '../retry.ts';
import { createKafkaAdmin } from './kafka-admin.ts';
import { createKafkaClient, type KafkaSettings } from './kafka-client.ts';
import { type KafkaFault, refusalOf } from './kafka-cluster.ts';
import { createOffsetCommits } from './kafka-commits.ts';
import { readAsRuns } from './kafka-fetch.ts';
import { createKafkaGhost } from './kafka-ghost.ts';
import { type BufferLimits, createKafkaReader, type KafkaReader } from './kafka-reader.ts';

export interface KafkaSourceOptions {
  settings: KafkaSettings;
  /** The cluster id, as prepareKafka found it. */
  logId: string;
  topic: string;
  groupId: string;
  logger: Logger;
  /** How soon added partitions are noticed. Default 30 s. */
  metadataMaxAgeMs?: number;
  /** Per partition. Default 8,000 records or 4 MiB. */
  buffer?: BufferLimits;
}

const BUFFER: BufferLimits = { maxRecords: 8_000, maxBytes: 4 * 2 ** 20 };
/** A replica that died gives its partitions away after this. */
const SESSION_TIMEOUT_MS = 6_000;
const HEARTBEAT_MS = 1_000;
const REBALANCE_TIMEOUT_MS = 15_000;
/** Also how long a partition that is read again may wait while all others are paused. */
const FETCH_WAIT_MS = 50;
/** Small: an answer is taken apart at a stretch, and held until its records are read. */
const FETCH_BYTES = 2 ** 20;
const FETCH_PARTITION_BYTES = 2 ** 18;
const COMMIT_INTERVAL_MS = 100;
const CLOSE_DEADLINE_MS = 5_000;
/** A consumer that lived so long has proved that it can. */
const STEADY_MS = 30_000;
const REBUILD_MAX_MS = 1_000;
/**
 * Seen of Kafka 4.1: a broker that is no longer the coordinator goes on answering heartbeats, and
 * only its refusals of our commits tell that the group is elsewhere.
 */
const COMMITS_REFUSED_MS = 3_000;
/** How long a start waits for its partitions: without them the rest can be up, and say why. */
const JOINED_WITHIN_MS = 5_000;
/** A group that shares its partitions out anew is soon done. */
const OUT_OF_GROUP_MS = 5_000;

/**
 * A topic of Kafka or Redpanda, read by a consumer group. Its members' partitions change: one that
 * goes has its reader's signal aborted, one that comes gets a new reader, and one that stays is
 * taken up again by its lane (PositionLost), as others may have written to it in between. What a lane
 * writes too late is refused by the fence in Postgres, so no rebalance waits for it.
 *
 * Whatever ends a consumer of kafkajs (some of its crashes are final), a new one is built.
 */
export function createKafkaSource(options: KafkaSourceOptions): Required<Source> {
  const { logId, topic, groupId, logger } = options;
  // Few retries: lanes ask again by themselves, and a consumer that gave up is soon replaced.
  const kafka = createKafkaClient(options.settings, logger, { retries: 3 });
  const admin = createKafkaAdmin(kafka, { topic, groupId });
  const ghost = createKafkaGhost({ groupId, logger });
  const readers = new Map<number, KafkaReader>();
  const closing = new AbortController();
  let paused = false;
  let consumer: Consumer | null = null;
  let consuming: Promise<void> | null = null;
  const firstJoin = Promise.withResolvers<void>();
  let hasJoined = false;
  /** Not a member of the group now: since when, by the process's clock, and why. */
  let out: { sinceMs: number; why: string } | null = null;
  let assign: (reader: PartitionReader) => void = () => {};
  /** Since when commits go to a broker that is not the group's coordinator, by the process's clock. */
  let misdirectedMs: number | null = null;
  /** Ends the consumer of now: another is built. */
  let giveUp: (why: Error) => void = () => {};

  const commits = createOffsetCommits({
    intervalMs: COMMIT_INTERVAL_MS,
    logger,
    async send(offsets) {
      if (consumer === null) throw new Error('no consumer at the moment');
      try {
        await consumer.commitOffsets(
          offsets.map(({ partition, offset }) => ({ topic, partition, offset: String(offset) })),
        );
        misdirectedMs = null;
      } catch (error) {
        const { type } = ((error as Error).cause ?? error) as { type?: string };
        if (type === 'NOT_COORDINATOR_FOR_GROUP') {
          misdirectedMs ??= performance.now();
          if (performance.now() - misdirectedMs > COMMITS_REFUSED_MS) giveUp(error as Error);
        }
        throw error;
      }
    },
  });
  const fetch = {
    seek: (partition: number, offset: number) =>
      consumer?.seek({ topic, partition, offset: String(offset) }),
    pause: (partition: number) => consumer?.pause([{ topic, partitions: [partition] }]),
    resume: (partition: number) => consumer?.resume([{ topic, partitions: [partition] }]),
  };

  /** The consumer has joined its group: what was ours may be another's, and the reverse. */
  function joined(joining: Consumer, partitions: readonly number[]): void {
    consumer = joining;
    misdirectedMs = null;
    hasJoined = true;
    out = null;
    // Nothing is fetched before a lane says from where.
    if (partitions.length > 0) joining.pause([{ topic, partitions: [...partitions] }]);
    const lost = [...readers.keys()].filter((partition) => !partitions.includes(partition));
    for (const partition of lost) {
      readers.get(partition)?.close('revoked');
      readers.delete(partition);
      commits.forget(partition);
    }
    for (const reader of readers.values()) reader.rejoined();
    commits.resend();
    const fresh = paused ? [] : partitions.filter((partition) => !readers.has(partition));
    logger.info({ partitions, lost, fresh }, 'partitions assigned');
    for (const partition of fresh) {
      const reader = createKafkaReader(
        { fetch, commits, committed: admin.committed, range: admin.range },
        { partition, limits: options.buffer ?? BUFFER },
      );
      readers.set(partition, reader);
      assign(reader);
    }
  }

  function left(why: string): void {
    out = { sinceMs: out?.sinceMs ?? performance.now(), why };
  }

  function health(): LogHealth {
    if (hasJoined && (out === null || performance.now() - out.sinceMs < OUT_OF_GROUP_MS)) {
      return { ok: true };
    }
    return { ok: false, reason: `not in the Kafka group ${groupId}: ${out?.why ?? 'joining it'}` };
  }

  /** Lives as long as the consumer does. @returns what ended it */
  async function consume(): Promise<Error> {
    const mine = kafka.consumer({
      groupId,
      allowAutoTopicCreation: false,
      partitionAssigners: [withCluster(ghost.assigner)],
      metadataMaxAge: options.metadataMaxAgeMs ?? 30_000,
      sessionTimeout: SESSION_TIMEOUT_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      maxBytes: FETCH_BYTES,
      maxBytesPerPartition: FETCH_PARTITION_BYTES,
      retry: { retries: 3 },
    });
    const { CRASH, GROUP_JOIN, REBALANCING } = mine.events;
    const ended = Promise.withResolvers<Error>();
    giveUp = ended.resolve;
    const stop = () => ended.resolve(new Error('closing'));
    mine.on(CRASH, ({ payload }) => ended.resolve(payload.error));
    mine.on(GROUP_JOIN, ({ payload }) => {
      ghost.joined(payload.memberId);
      if (closing.signal.aborted) return;
      joined(mine, payload.memberAssignment[topic] ?? []);
      firstJoin.resolve();
    });
    // On its way before the request to join again, so whoever gets a partition reads little twice.
    mine.on(REBALANCING, () => {
      left('it shares its partitions out anew');
      void commits.flush();
    });
    const eachBatch = async ({ batch, isStale }: EachBatchPayload) => {
      if (!isStale()) readers.get(batch.partition)?.push(batch);
    };
    try {
      await mine.connect();
      await mine.subscribe({ topic, fromBeginning: true });
      await ghost.leave();
      await mine.run({ autoCommit: false, eachBatch });
      closing.signal.addEventListener('abort', stop);
      if (closing.signal.aborted) stop();
      return await ended.promise;
    } catch (error) {
      return error as Error;
    } finally {
      closing.signal.removeEventListener('abort', stop);
      if (consumer === mine) consumer = null;
      // Leaves the group; an unreachable broker must not hold up the next consumer.
      await withDeadline(mine.disconnect(), CLOSE_DEADLINE_MS, 'leaving the group').catch(() => {});
    }
  }

  async function keepConsuming(): Promise<void> {
    for (let attempt = 0; !closing.signal.aborted; attempt++) {
      const startedMs = performance.now();
      const error = await consume();
      if (closing.signal.aborted) return;
      left(error.message);
      const refusal = refusalOf(error as KafkaFault, { topic, groupId });
      if (refusal) firstJoin.reject(refusal);
      if (performance.now() - startedMs > STEADY_MS) attempt = 0;
      if (attempt % 10 === 0) {
        logger.warn({ err: error, attempt }, 'the consumer of Kafka ended: building another');
      }
      await sleep(Math.min(REBUILD_MAX_MS, backoffMs(attempt)), closing.signal);
    }
  }

  return {
    logId,
    topic,
    partitions: admin.partitions,
    ends: admin.ends,
    async start(onAssigned) {
      if (consuming !== null) throw new Error('the source was already started');
      assign = onAssigned;
      consuming = keepConsuming().finally(firstJoin.resolve);
      const join = withDeadline(firstJoin.promise, JOINED_WITHIN_MS, 'joining the group');
      await join.catch((error: unknown) => {
        if (!(error instanceof DeadlineError)) throw error;
        logger.warn({ topic, groupId, reason: out?.why }, 'no partitions yet: started without');
      });
    },
    async pause() {
      paused = true;
      for (const reader of readers.values()) reader.close('paused');
    },
    health,
    async close() {
      paused = true;
      for (const reader of readers.values()) reader.close('revoked');
      commits.stop();
      await withDeadline(commits.flush(), CLOSE_DEADLINE_MS, 'committing').catch(() => {});
      closing.abort();
      // One that still tries to connect gives up by itself.
      if (consuming) await withDeadline(consuming, CLOSE_DEADLINE_MS, 'closing').catch(() => {});
      await admin.close();
    },
  };
}

/** kafkajs shows a consumer's cluster to its assigners alone. */
function withCluster(assigner: PartitionAssigner): PartitionAssigner {
  return (config) => {
    readAsRuns(config.cluster);
    return assigner(config);
  };
}
