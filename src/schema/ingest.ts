import type { EngineStatus, IngestCounters } from '../engine/status.ts';
import type { Builder } from './builder.ts';
import { requireOperator } from './viewer.ts';

export interface IngestStatus extends EngineStatus {
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

export function defineIngest(builder: Builder): void {
  builder.enumType('LaneState', {
    values: ['STARTING', 'RUNNING', 'WAITING', 'STOPPED', 'FAILED'] as const,
  });
  builder.objectType('Lane', {
    description: 'One partition of the log, read by this process.',
    fields: (t) => ({
      partition: t.exposeInt('partition'),
      state: t.expose('state', { type: 'LaneState' }),
      problem: t.exposeString('problem', {
        nullable: true,
        description: 'Why it waits or failed.',
      }),
      watermark: t.expose('watermark', {
        type: 'SafeInt',
        description: 'Highest offset whose effects are stored; -1 before the first.',
      }),
      end: t.expose('end', { type: 'SafeInt', description: 'Offset of the next record.' }),
      lag: t.expose('lag', { type: 'SafeInt', description: 'Records not stored yet.' }),
    }),
  });
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
  builder.objectType('IngestStatus', {
    fields: (t) => ({
      lanes: t.field({ type: ['Lane'], resolve: ({ lanes }) => lanes }),
      lag: t.field({
        type: 'SafeInt',
        description: 'Records in the log that are not stored yet.',
        resolve: ({ lanes }) => lanes.reduce((sum, lane) => sum + lane.lag, 0),
      }),
      counters: t.field({ type: 'IngestCounters', resolve: ({ counters }) => counters }),
      newestAlertSeq: t.expose('newestAlertSeq', { type: 'SafeInt' }),
    }),
  });
  builder.queryField('ingest', (t) =>
    t.field({
      type: 'IngestStatus',
      nullable: true,
      description: 'How storing keeps up. Operators only.',
      resolve: (_, __, context) => {
        requireOperator(context);
        return { ...context.engineStatus(), newestAlertSeq: context.tail.newest() };
      },
    }),
  );
}
