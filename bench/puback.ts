import { cpuSecondsOf } from './cpu.ts';
import { measureFsync } from './machine.ts';
import { connectLoad, type Published } from './mqtt-load.ts';
import { createReadings } from './readings.ts';
import { type Around, percentile, type Row, type Suite } from './suite.ts';
import { startPlain } from './targets.ts';

interface Case {
  rate: number;
  /** Messages in each connection that are not acknowledged. */
  window: number;
}

const CONNECTIONS = 20;
const FLEET = { users: 30, devices: 1_000, crossing: 0 };
const SECONDS = 15;
const FLAT_OUT_MESSAGES = 300_000;

const CASES: Record<string, Case> = {
  '1,000 messages/s': { rate: 1_000, window: 1_000 },
  '5,000 messages/s': { rate: 5_000, window: 1_000 },
  'flat out, 2,000 under way': { rate: Number.POSITIVE_INFINITY, window: 100 },
};

export const pubackSuite: Suite = {
  name: 'puback',
  title: 'MQTT to a durable PUBACK',
  about:
    `QoS 1 over ${CONNECTIONS} connections into the embedded broker, which acknowledges once the ` +
    'embedded log has the message on disk (fsync). Plain: the same broker, which keeps nothing. ' +
    'From the publish to the PUBACK in the client, in milliseconds.',
  columns: [
    { key: 'rate', title: 'messages/s' },
    { key: 'p50', title: 'p50', digits: 2 },
    { key: 'p99', title: 'p99', digits: 1 },
    { key: 'cpu', title: 'CPU, µs/message', digits: 1 },
    { key: 'plainRate', title: 'plain: messages/s' },
    { key: 'plainP50', title: 'p50', digits: 2 },
    { key: 'plainP99', title: 'p99', digits: 1 },
    { key: 'plainCpu', title: 'CPU, µs/message', digits: 1 },
    { key: 'fsync', title: "the disk's fsync p99", digits: 1 },
  ],
  cases: Object.keys(CASES),
  measure,
};

async function* measure(cases: readonly string[], { quick }: Around): AsyncGenerator<Row, void> {
  for (const name of cases) {
    const one = CASES[name] as Case;
    const seconds = quick ? 2 : SECONDS;
    const flatOut = quick ? FLAT_OUT_MESSAGES / 10 : FLAT_OUT_MESSAGES;
    const count = Number.isFinite(one.rate) ? one.rate * seconds : flatOut;
    const fsync = measureFsync().p99;
    const durable = await run('log', one, count);
    const plain = await run('none', one, count);
    yield {
      name,
      ...durable,
      plainRate: plain.rate,
      plainP50: plain.p50,
      plainP99: plain.p99,
      plainCpu: plain.cpu,
      fsync,
    };
  }
}

async function run(mode: 'log' | 'none', { rate, window }: Case, count: number) {
  const target = await startPlain(mode);
  const load = await connectLoad(target.mqttUrl, CONNECTIONS);
  try {
    const { message } = createReadings(FLEET);
    const warmUp = Math.min(2_000, count);
    await load.publish({ rate: 2_000, count: warmUp, window, message });
    const before = cpuSecondsOf(target.pid);
    const published = await load.publish({ rate, count, window, message });
    const cpu = ((cpuSecondsOf(target.pid) - before) * 1e6) / count;
    return { rate: count / published.seconds, ...latencies(published), cpu };
  } finally {
    load.close();
    await target.remove();
  }
}

function latencies({ sentAt, acknowledgedAt }: Published): { p50: number; p99: number } {
  const times = [...acknowledgedAt].map((at, index) => at - (sentAt[index] as number));
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}
