import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Metric, Registry } from 'prom-client';
import { REJECT_REASONS } from '../domain/reading.ts';
import { MICROS_PER_MS, MICROS_PER_SECOND } from '../domain/time.ts';
import type { Distribution } from '../engine/measures.ts';
import type { EngineStatus, LaneStatus } from '../engine/status.ts';

/** One number of a part of the process. */
export interface Figure {
  /** With its unit, as Prometheus has it: `pulsegraph_log_size_bytes`. */
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  /** Called at each scrape. What it rejects, or null, is left out. */
  read(): number | null | Promise<number | null>;
}

export interface Metrics {
  contentType: string;
  /** In Prometheus's text format, of now. */
  text(): Promise<string>;
  close(): void;
}

interface Sample {
  value: number;
  labels?: Record<string, string | number>;
  /** Where it is another than the metric's own. */
  metricName?: string;
}

interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram';
  read: () => Sample[] | Promise<Sample[]>;
}

/** Everything is read when it is asked for: a process that nobody scrapes pays nothing. */
export function createMetrics(sources: {
  engineStatus: () => EngineStatus;
  figures: readonly Figure[];
}): Metrics {
  const registry = new Registry();
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const families: Family[] = [
    ...engineFamilies(sources.engineStatus),
    ...partitionFamilies(sources.engineStatus),
    ...processFamilies(delay),
    ...sources.figures.map(ofFigure),
  ];
  for (const { read, ...family } of families) {
    const get = async () => ({ ...family, values: await read() });
    registry.registerMetric({ ...family, get } as unknown as Metric);
  }
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    close: () => void delay.disable(),
  };
}

function engineFamilies(status: () => EngineStatus): Family[] {
  const measures = () => status().measures;
  const counter = (name: string, help: string, read: Family['read']): Family => ({
    name: `pulsegraph_${name}`,
    help,
    type: 'counter',
    read,
  });
  return [
    counter('records_total', 'Records of the log taken in, heartbeats included', () => [
      { value: status().counters.records },
    ]),
    counter('readings_total', 'Readings by what the rules made of them', () => {
      const { live, late, replay, future } = status().counters;
      return byLabel('kind', Object.entries({ live, late, replay, future }));
    }),
    counter('rows_stored_total', 'Readings written to the database', () => [
      { value: measures().rows },
    ]),
    counter('dead_letters_total', 'Messages that could not be stored, by reason', () =>
      // Each reason from the start: what begins at 1 has not increased, and would alert nobody.
      byLabel(
        'reason',
        new Map<string, number>([
          ...REJECT_REASONS.map((reason) => [reason, 0] as const),
          ...measures().deadLetters,
        ]),
      ),
    ),
    counter('alert_transitions_total', 'Alerts fired and resolved by the lanes, by type', () =>
      byLabel('type', measures().transitions),
    ),
    counter('batch_rewinds_total', 'Batches given up and read again', () => [
      { value: status().counters.rewinds },
    ]),
    counter('log_gaps_total', 'Starts behind records that the log no longer had', () => [
      { value: status().counters.gaps },
    ]),
    histogram('pulsegraph_batch_records', 'Records of a batch', () => measures().batchRecords),
    histogram(
      'pulsegraph_batch_write_seconds',
      'Time of the transaction that stores a batch',
      () => measures().batchWriteSeconds,
    ),
  ];
}

/** Of the partitions that this process reads: each is told of by one process. */
function partitionFamilies(status: () => EngineStatus): Family[] {
  const gauge = (
    name: string,
    help: string,
    measured: (lane: LaneStatus) => number | null,
  ): Family => ({
    name: `pulsegraph_partition_${name}`,
    help,
    type: 'gauge',
    read: () =>
      status().lanes.flatMap((lane) => {
        const value = measured(lane);
        return value === null ? [] : [{ labels: { partition: lane.partition }, value }];
      }),
  });
  return [
    gauge('lag_records', 'Records of the partition that are not stored yet', ({ lag }) => lag),
    gauge('running', '1 while the partition is being stored', ({ state }) =>
      state === 'RUNNING' ? 1 : 0,
    ),
    gauge(
      'watermark_age_seconds',
      'Time since the newest stored record of the partition arrived in the log',
      ({ coveredAt }) =>
        coveredAt === 0
          ? null
          : Math.max(0, (Date.now() * MICROS_PER_MS - coveredAt) / MICROS_PER_SECOND),
    ),
  ];
}

type Delay = ReturnType<typeof monitorEventLoopDelay>;

const NANOS_PER_SECOND = 1e9;

function processFamilies(delay: Delay): Family[] {
  const gauge = (name: string, help: string, read: () => number): Family => ({
    name,
    help,
    type: 'gauge',
    read: () => [{ value: read() }],
  });
  return [
    {
      name: 'pulsegraph_event_loop_delay_seconds',
      help: 'How late the event loop was since the last scrape, by quantile',
      type: 'gauge',
      read() {
        const samples = [50, 99, 100].map((percent) => ({
          labels: { quantile: percent / 100 },
          value: (percent === 100 ? delay.max : delay.percentile(percent)) / NANOS_PER_SECOND,
        }));
        delay.reset();
        return samples;
      },
    },
    gauge('process_resident_memory_bytes', 'Resident memory of the process', () =>
      process.memoryUsage.rss(),
    ),
    gauge('process_heap_bytes', 'Heap of JavaScript in use', () => process.memoryUsage().heapUsed),
    gauge('process_start_time_seconds', 'Start of the process since the epoch', () =>
      Math.round(performance.timeOrigin / 1_000),
    ),
    {
      name: 'process_cpu_seconds_total',
      help: 'User and system CPU time of the process',
      type: 'counter',
      read() {
        const { user, system } = process.cpuUsage();
        return [{ value: (user + system) / 1e6 }];
      },
    },
  ];
}

function ofFigure({ read, ...family }: Figure): Family {
  return {
    ...family,
    async read() {
      try {
        const value = await read();
        return value === null ? [] : [{ value }];
      } catch {
        // The database is away: the others are told none the less.
        return [];
      }
    },
  };
}

function byLabel(label: string, counts: Iterable<readonly [string, number]>): Sample[] {
  return [...counts].map(([name, value]) => ({ labels: { [label]: name }, value }));
}

function histogram(name: string, help: string, read: () => Distribution): Family {
  return {
    name,
    help,
    type: 'histogram',
    read() {
      const { bounds, counts, sum, count } = read();
      const buckets = [...bounds, '+Inf'].map((le, index) => ({
        metricName: `${name}_bucket`,
        labels: { le },
        value: counts[index] ?? count,
      }));
      return [
        ...buckets,
        { metricName: `${name}_sum`, value: sum },
        { metricName: `${name}_count`, value: count },
      ];
    },
  };
}
