import { MICROS_PER_MS, MICROS_PER_SECOND } from '../domain/time.ts';
import type { PartitionStatus } from '../engine/ingest-watch.ts';
import { sleep } from '../engine/retry.ts';
import type { EngineStatus, IngestCounters } from '../engine/status.ts';
import type { Builder } from './builder.ts';
import type { Context } from './context.ts';
import { delivered, deliveries } from './subscription.ts';
import { requireOperator } from './viewer.ts';

export interface IngestStatus extends EngineStatus {
  partitions: PartitionStatus[];
  /** The newest seq of alert_events that this process knows. */
  newestAlertSeq: number;
}

export const INGEST_COUNTERS: Record<keyof IngestCounters, string> = {
  records: 'Stored, dead-lettered or without content; what is read again counts once.',
  batches: 'Committed.',
  live: 'Readings that rules were evaluated on.',
  late: 'Readings not above the last one that a rule took into account: stored only.',
  replay: 'Readings read again after a restart: stored only.',
  future: 'Readings dated too far ahead of their arrival: stored only.',
  deadLetters: 'Messages that could not be stored.',
  transitions: 'Of alerts: fired and resolved.',
  rewinds: 'Batches given up and read again.',
  gaps: 'Starts behind records that the log no longer had.',
};

const WATERMARK = 'Highest offset whose effects are stored; -1 before the first.';
const PROBLEM = 'Why it waits or failed.';

export function defineIngest(builder: Builder): void {
  builder.enumType('LaneState', {
    description: 'What the reader of a partition does.',
    values: {
      STARTING: { description: 'It takes the partition up.' },
      RUNNING: { description: 'It stores what comes.' },
      WAITING: { description: 'For the database or the log, which it tries again and again.' },
      STOPPED: { description: 'The partition is being given to another process.' },
      FAILED: { description: 'It has met what no retry mends; nothing is lost.' },
    },
  });
  defineLane(builder);
  definePartition(builder);
  builder.objectType('IngestCounters', { description: 'Since the start of the process.' });
  for (const name of Object.keys(INGEST_COUNTERS) as (keyof IngestCounters)[]) {
    builder.objectField('IngestCounters', name, (t) =>
      t.field({
        type: 'SafeInt',
        description: INGEST_COUNTERS[name],
        resolve: (counters) => counters[name],
      }),
    );
  }
  defineStatus(builder);
}

function defineLane(builder: Builder): void {
  builder.objectType('Lane', {
    description: 'One partition of the log, read by this process.',
    fields: (t) => ({
      partition: t.exposeInt('partition', { description: 'Its number in the log.' }),
      state: t.expose('state', { type: 'LaneState', description: 'What it does now.' }),
      problem: t.exposeString('problem', { nullable: true, description: PROBLEM }),
      watermark: t.expose('watermark', { type: 'SafeInt', description: WATERMARK }),
      end: t.expose('end', { type: 'SafeInt', description: 'Offset of the next record.' }),
      lag: t.expose('lag', { type: 'SafeInt', description: 'Records not stored yet.' }),
    }),
  });
}

function definePartition(builder: Builder): void {
  builder.objectType('IngestPartition', {
    description:
      'One partition of the log, whichever process reads it. What others store is as of the last ' +
      'second.',
    fields: (t) => ({
      partition: t.exposeInt('partition', { description: 'Its number in the log.' }),
      isHere: t.boolean({
        description: 'Whether the process that answers reads it.',
        resolve: ({ state }) => state !== null,
      }),
      state: t.expose('state', {
        type: 'LaneState',
        nullable: true,
        description: 'What its reader does; null where another process reads it, or none.',
      }),
      problem: t.exposeString('problem', { nullable: true, description: PROBLEM }),
      watermark: t.expose('watermark', { type: 'SafeInt', description: WATERMARK }),
      watermarkTime: t.expose('coveredAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When the newest record that is stored arrived in the log.',
      }),
      watermarkAge: t.float({
        nullable: true,
        description: 'Seconds since then: a few at most while it keeps up, as heartbeats count.',
        resolve: ({ coveredAt }) =>
          coveredAt === null
            ? null
            : Math.max(0, (Date.now() * MICROS_PER_MS - coveredAt) / MICROS_PER_SECOND),
      }),
      end: t.expose('end', {
        type: 'SafeInt',
        nullable: true,
        description: 'Offset of the next record; null where it is not known.',
      }),
      lag: t.expose('lag', {
        type: 'SafeInt',
        nullable: true,
        description: 'Records not stored yet; null where it is not known.',
      }),
      rate: t.exposeFloat('rate', {
        nullable: true,
        description:
          'Records stored each second, heartbeats included, over the last ten seconds; null in the ' +
          'first moments.',
      }),
    }),
  });
}

const known = (values: (number | null)[]) => values.filter((value) => value !== null);
const sum = (values: (number | null)[]) => known(values).reduce((total, value) => total + value, 0);

function defineStatus(builder: Builder): void {
  builder.objectType('IngestStatus', {
    description: 'How storing keeps up with the log.',
    fields: (t) => ({
      partitions: t.field({
        type: ['IngestPartition'],
        description: 'All partitions of the log.',
        resolve: ({ partitions }) => partitions,
      }),
      lanes: t.field({
        type: ['Lane'],
        description: 'The partitions that this process reads.',
        resolve: ({ lanes }) => lanes,
      }),
      lag: t.field({
        type: 'SafeInt',
        description: 'Records in the log that are not stored yet, in all partitions.',
        resolve: ({ partitions }) => sum(partitions.map(({ lag }) => lag)),
      }),
      rate: t.float({
        nullable: true,
        description: 'Records stored each second, in all partitions; null in the first moments.',
        resolve: ({ partitions }) => {
          const rates = partitions.map(({ rate }) => rate);
          return known(rates).length === 0 ? null : sum(rates);
        },
      }),
      counters: t.field({
        type: 'IngestCounters',
        description: 'What this process has done.',
        resolve: ({ counters }) => counters,
      }),
      newestAlertSeq: t.expose('newestAlertSeq', {
        type: 'SafeInt',
        description: '`seq` of the newest alert event.',
      }),
    }),
  });
  builder.queryField('ingest', (t) =>
    t.field({
      type: 'IngestStatus',
      nullable: true,
      description: 'How storing keeps up: cheap enough to be polled. Operators only.',
      resolve: (_, __, context) => {
        requireOperator(context);
        return ingestStatus(context);
      },
    }),
  );
  builder.subscriptionField('ingestStatus', (t) =>
    t.field({
      type: 'IngestStatus',
      description: 'How storing keeps up: now, and each second. Operators only.',
      subscribe: (_, __, context) => {
        requireOperator(context);
        return deliveries(context, (signal) => eachSecond(context, signal));
      },
      resolve: (delivery) => delivered(delivery),
    }),
  );
}

async function ingestStatus({ engineStatus, ingest, tail }: Context): Promise<IngestStatus> {
  const partitions = await ingest.partitions();
  return { ...engineStatus(), partitions, newestAlertSeq: tail.newest() };
}

async function* eachSecond(
  context: Context,
  signal: AbortSignal,
): AsyncIterableIterator<readonly IngestStatus[]> {
  while (!signal.aborted) {
    yield [await ingestStatus(context)];
    await sleep(1_000, signal);
  }
}
