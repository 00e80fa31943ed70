import type { Logger } from 'pino';
import type { PartitionReader, Source } from '../domain/log.ts';
import type { Model } from '../domain/model.ts';
import type { Micros } from '../domain/time.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Sql } from '../store/connection.ts';
import { createPartitionMaker } from '../store/partitions.ts';
import type { BatchPolicy } from './batch.ts';
import type { DeadLetterSink } from './commit.ts';
import { createDecoder } from './decode.ts';
import { createGroupCommit } from './group-commit.ts';
import { createLane, type Lane, type LaneDeps } from './lane.ts';
import { createMeasures } from './measures.ts';
import { createReadingFeed, type ReadingFeed } from './reading-feed.ts';
import { sleep } from './retry.ts';
import type { RuleBook } from './rule-book.ts';
import type { EngineStatus, IngestCounters } from './status.ts';
import type { Tracer } from './tracer.ts';

/**
 * The ingest engine. Each partition of the log is read by one lane:
 *
 *   source    sources/      records of a partition, in order
 *   decode    decode.ts     a record becomes a reading, or a rejection with its reason
 *   evaluate  evaluate.ts   the user's rules, on the device's state: transitions
 *   batch     batch.ts      1,000 records or 100 ms; at once where a transition waits
 *   write     write.ts      one transaction: readings, states, alerts, dead letters, watermark
 *   commit    commit.ts     the group's offset, after Postgres; watchers hear of the readings
 *   publish   publish.ts    the elected publisher sends what was committed
 */
export interface Engine {
  readonly feed: ReadingFeed;
  start(): Promise<void>;
  status(): EngineStatus;
  /** Stops reading and writes what was read; past the deadline it leaves the rest in the log. */
  stop(deadlineMs: number): Promise<void>;
}

export interface EngineDeps {
  source: Source;
  sql: Sql;
  /** Opens connections of a lane's own. */
  openSql: () => Sql;
  /** Opens the one that lanes share for small batches. */
  openGroupSql: () => Sql;
  rules: RuleBook;
  tail: Pick<AlertEventTail, 'committed'>;
  /** Told of dead letters that were committed, where they also go elsewhere. */
  deadLetters?: DeadLetterSink;
  model: Model;
  logger: Logger;
  /** Where messages are followed. */
  tracer?: Tracer | undefined;
}

export interface EngineOptions {
  policy: BatchPolicy;
  maxPayloadBytes: number;
  maxClockSkew: Micros;
  /** Devices whose state is kept in memory, over all lanes; each may have ten batches of them. */
  maxCachedDevices: number;
  /** Readings that a watcher of one device may be behind. */
  feedCapacity: number;
}

/** What a lane may take to give up what it waits for. */
const GIVE_UP_MS = 500;

export function createEngine(deps: EngineDeps, options: EngineOptions): Engine {
  const { source, rules, tail, model, logger } = deps;
  const feed = createReadingFeed({ capacity: options.feedCapacity });
  const decode = createDecoder(model, options);
  const partitions = createPartitionMaker(deps.sql, model);
  const counters: IngestCounters = {
    records: 0,
    batches: 0,
    live: 0,
    late: 0,
    replay: 0,
    future: 0,
    deadLetters: 0,
    transitions: 0,
    rewinds: 0,
    gaps: 0,
  };
  const measures = createMeasures();
  const lanes = new Map<number, { lane: Lane; ended: Promise<void> }>();
  const abandon = new AbortController();
  const { openSql, deadLetters } = deps;
  const group = createGroupCommit({ openSql: deps.openGroupSql, model, logger });
  const logPartitions = () => source.partitions();
  const shared = {
    decode,
    rules,
    openSql,
    group,
    partitions,
    logPartitions,
    model,
    feed,
    tail,
    deadLetters,
    counters,
    measures,
    tracer: deps.tracer,
  };
  const stopWatchingRules = rules.onChange(({ userId }) => {
    for (const { lane } of lanes.values()) lane.rulesChanged(userId);
  });

  function assign(reader: PartitionReader): void {
    const laneDeps: LaneDeps = { ...shared, reader, logger };
    const lane = createLane(laneDeps, {
      log: { logId: source.logId, topic: source.topic, partition: reader.partition },
      policy: options.policy,
      maxClockSkew: options.maxClockSkew,
      maxCachedDevices: () => options.maxCachedDevices / Math.max(1, lanes.size),
      abandon: abandon.signal,
    });
    const before = lanes.get(reader.partition);
    const entry = { lane, ended: runAfter(before?.ended, lane) };
    lanes.set(reader.partition, entry);
    void entry.ended.then(() => {
      const isCurrent = lanes.get(reader.partition) === entry;
      if (isCurrent && lane.status().state === 'STOPPED') lanes.delete(reader.partition);
    });
  }

  /** A partition that comes back is taken up when its earlier lane has written its last batch. */
  async function runAfter(before: Promise<void> | undefined, lane: Lane): Promise<void> {
    await before;
    await lane.run();
  }

  async function stop(deadlineMs: number): Promise<void> {
    stopWatchingRules();
    await source.pause();
    const timer = setTimeout(() => {
      const lag = status().lanes.reduce((sum, lane) => sum + lane.lag, 0);
      logger.warn({ lag }, 'the deadline to drain has passed: what is left stays in the log');
      abandon.abort();
    }, deadlineMs);
    const done = new AbortController();
    const ended = Promise.all([...lanes.values()].map((lane) => lane.ended));
    await Promise.race([ended, sleep(deadlineMs + GIVE_UP_MS, done.signal)]);
    done.abort();
    clearTimeout(timer);
    feed.close();
    await group.close();
    await source.close();
  }

  function status(): EngineStatus {
    const all = [...lanes.values()].map(({ lane }) => lane.status());
    return { lanes: all.sort((a, b) => a.partition - b.partition), counters, measures };
  }

  return { feed, start: () => source.start(assign), status, stop };
}
