import { connect } from '../src/store/connection.ts';
import { eventually } from '../tests/support/process.ts';
import { cpuSecondsOf, residentMiB } from './cpu.ts';
import { connectLoad } from './mqtt-load.ts';
import { createReadings } from './readings.ts';
import type { Around, Row, Suite } from './suite.ts';
import { startPlain, startPulsegraph, type Target } from './targets.ts';

const RATE = 10_000;
const FLEET = { users: 30, devices: 1_000, crossing: 1 };
const CONNECTIONS = 50;
const SAMPLE_MS = 1_000;
/** Caches fill and the heap finds its size: not counted as growth. */
const WARM_UP_SHARE = 0.2;
const STORED_WITHIN_MS = 120_000;

const CASES = ['10,000 readings/s'] as const;

export const soakSuite: Suite = {
  name: 'soak',
  title: 'Memory over a soak',
  about:
    'Readings of 1,000 devices over MQTT, 10 transitions a second, all of them counted in the ' +
    'database at the end. RSS of the process, in MiB, Postgres aside: after the first fifth of the ' +
    'time, at the end and at its highest; the slope is of a straight line through what is between. ' +
    'Plain: the same broker, one comparison, nothing kept.',
  columns: [
    { key: 'minutes', title: 'minutes', digits: 1 },
    { key: 'rate', title: 'readings/s' },
    { key: 'stored', title: 'stored' },
    { key: 'lost', title: 'lost' },
    { key: 'start', title: 'RSS at first' },
    { key: 'end', title: 'at the end' },
    { key: 'max', title: 'highest' },
    { key: 'slope', title: 'slope, MiB/min', digits: 2 },
    { key: 'cpu', title: 'CPU, µs/reading', digits: 1 },
    { key: 'plainEnd', title: 'plain: RSS' },
    { key: 'plainCpu', title: 'CPU, µs/reading', digits: 1 },
  ],
  cases: CASES,
  measure,
};

async function* measure(
  cases: readonly string[],
  { soakMinutes, quick }: Around,
): AsyncGenerator<Row, void> {
  for (const name of cases) {
    const rate = quick ? RATE / 5 : RATE;
    // The plain one has nothing that could grow.
    const plain = await run(await startPlain('alerts'), rate, Math.min(1, soakMinutes));
    const ours = await run(await startPulsegraph(FLEET), rate, soakMinutes);
    yield { name, minutes: soakMinutes, ...ours, plainEnd: plain.end, plainCpu: plain.cpu };
  }
}

/** Removes the target. */
async function run(target: Target, rate: number, minutes: number) {
  const { message } = createReadings(FLEET);
  const count = Math.round(rate * minutes * 60);
  const samples: { minute: number; mib: number }[] = [];
  const startedMs = performance.now();
  const sampling = setInterval(() => {
    const minute = (performance.now() - startedMs) / 60_000;
    samples.push({ minute, mib: residentMiB(target.pid) });
  }, SAMPLE_MS);
  try {
    const load = await connectLoad(target.mqttUrl, CONNECTIONS);
    const before = cpuSecondsOf(target.pid);
    const { seconds } = await load.publish({ rate, count, message });
    clearInterval(sampling);
    load.close();
    const stored = await untilStored(target.databaseUrl, count);
    const cpu = ((cpuSecondsOf(target.pid) - before) * 1e6) / count;
    const steady = samples.slice(Math.floor(samples.length * WARM_UP_SHARE));
    const mean = (some: typeof samples) =>
      some.reduce((sum, { mib }) => sum + mib, 0) / Math.max(1, some.length);
    const tenth = Math.max(1, Math.floor(steady.length / 10));
    return {
      rate: count / seconds,
      stored,
      lost: count - stored,
      start: mean(steady.slice(0, tenth)),
      end: mean(steady.slice(-tenth)),
      max: Math.max(...samples.map(({ mib }) => mib)),
      slope: slopeOf(steady),
      cpu,
    };
  } finally {
    clearInterval(sampling);
    await target.remove();
  }
}

async function untilStored(url: string | null, count: number): Promise<number> {
  if (url === null) return count;
  const sql = connect(url, { max: 1 });
  let stored = 0;
  const all = async () => {
    const [row] = await sql<{ n: number }[]>`SELECT count(*) AS n FROM raw_telemetry`;
    stored = row?.n ?? 0;
    return stored >= count;
  };
  // What is missing then is a figure of the row.
  await eventually('readings', all, STORED_WITHIN_MS).catch(() => {});
  await sql.end();
  return stored;
}

/** Of the least squares, MiB a minute. */
function slopeOf(samples: readonly { minute: number; mib: number }[]): number {
  const n = Math.max(1, samples.length);
  const meanX = samples.reduce((sum, { minute }) => sum + minute, 0) / n;
  const meanY = samples.reduce((sum, { mib }) => sum + mib, 0) / n;
  const covariance = samples.reduce(
    (s, { minute, mib }) => s + (minute - meanX) * (mib - meanY),
    0,
  );
  const variance = samples.reduce((s, { minute }) => s + (minute - meanX) ** 2, 0);
  return variance === 0 ? 0 : covariance / variance;
}
