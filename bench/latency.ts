import { startKafka } from '../tests/support/kafka.ts';
import { SERVICE_JVM } from '../tests/support/kafka-node.ts';
import { eventually } from '../tests/support/process.ts';
import { cpuSecondsOf } from './cpu.ts';
import { noKafkaNote } from './ingest-logs.ts';
import { measureFsync } from './machine.ts';
import { connectLoad } from './mqtt-load.ts';
import { createReadings, userIds } from './readings.ts';
import { type Around, percentile, type Row, type Suite } from './suite.ts';
import { startPlain, startPulsegraph, type Target } from './targets.ts';

const RATE = 1_000;
/** 100 of the 1,000 devices cross the threshold with each reading, which come once a second. */
const FLEET = { users: 11, devices: 1_000, crossing: 100 };
const CONNECTIONS = 10;
const SECONDS = 60;
/** By then the compilers of the process and of Kafka have done most of their work. */
const WARM_UP_SECONDS = 40;
const ARRIVED_WITHIN_MS = 30_000;

const CASES = [
  'embedded log, alert on MQTT',
  'embedded log, alert on WebSocket',
  'Kafka, alert on MQTT',
  'Kafka, alert on WebSocket',
] as const;

export const latencySuite: Suite = {
  name: 'latency',
  title: 'Reading to alert',
  about:
    `${RATE.toLocaleString('en')} readings a second over MQTT, of which 100 fire or resolve an ` +
    'alert, which is committed before it is sent. Milliseconds to the alert in the client, from ' +
    'the publish and from its PUBACK, by which the log has it on disk. The first ' +
    `${WARM_UP_SECONDS} s are left out. Kafka has the JVM settings of its own script. ` +
    'Plain: the same broker, one comparison, the alert at once; no log, no database. CPU of the ' +
    'whole process by alert transition (each goes out on both) and by reading.',
  columns: [
    { key: 'p50', title: 'from MQTT p50', digits: 1 },
    { key: 'p99', title: 'p99', digits: 1 },
    { key: 'logP50', title: 'from the log p50', digits: 1 },
    { key: 'logP99', title: 'p99', digits: 1 },
    { key: 'plainP50', title: 'plain p50', digits: 1 },
    { key: 'plainP99', title: 'p99', digits: 1 },
    { key: 'fsync', title: "the disk's fsync p99", digits: 1 },
    { key: 'cpuAlert', title: 'CPU, µs/alert' },
    { key: 'cpuReading', title: 'µs/reading' },
  ],
  cases: CASES,
  measure,
};

interface Figures {
  p50: number;
  p99: number;
  logP50: number;
  logP99: number;
}
type Way = 'MQTT' | 'WebSocket';
type Result = Record<Way, Figures> & { cpuAlert: number; cpuReading: number };

async function* measure(cases: readonly string[], { quick }: Around): AsyncGenerator<Row, void> {
  const seconds = quick ? 5 : SECONDS;
  const plain = await startPlain('alerts').then((target) => run(target, seconds));
  for (const log of ['embedded', 'Kafka'] as const) {
    const wanted = cases.filter((name) => name.startsWith(log));
    if (wanted.length === 0) continue;
    const note = log === 'Kafka' ? noKafkaNote() : null;
    if (note !== null) {
      yield* wanted.map((name) => ({ name, note }));
      continue;
    }
    const fsync = measureFsync().p99;
    const result = await (log === 'Kafka' ? runOnKafka(seconds) : runOurs(seconds));
    const { cpuAlert, cpuReading } = result;
    for (const name of wanted) {
      const way = name.endsWith('MQTT') ? 'MQTT' : 'WebSocket';
      const { p50: plainP50, p99: plainP99 } = plain[way];
      yield { name, ...result[way], plainP50, plainP99, fsync, cpuAlert, cpuReading };
    }
  }
}

async function runOurs(seconds: number, brokers?: string[]): Promise<Result> {
  return await run(await startPulsegraph(FLEET, brokers), seconds);
}

async function runOnKafka(seconds: number): Promise<Result> {
  const kafka = await startKafka(SERVICE_JVM);
  try {
    return await runOurs(seconds, kafka.brokers);
  } finally {
    await kafka.close();
  }
}

/** Removes the target. @throws Error when an alert is missing or comes twice */
async function run(target: Target, seconds: number): Promise<Result> {
  const arrivals = { MQTT: new Map<string, number>(), WebSocket: new Map<string, number>() };
  const twice: string[] = [];
  const arrived = (way: Way) => (key: string) => {
    if (arrivals[way].has(key)) twice.push(`${way}: ${key}`);
    else arrivals[way].set(key, performance.now());
  };
  try {
    const open = [await target.listen(arrived('MQTT'))];
    for (const user of userIds(FLEET)) open.push(await target.watch(user, arrived('WebSocket')));
    const load = await connectLoad(target.mqttUrl, CONNECTIONS);
    const { message, transitions } = createReadings(FLEET);
    const skipped = WARM_UP_SECONDS * RATE;
    const count = skipped + seconds * RATE;
    const before = cpuSecondsOf(target.pid);
    const { sentAt, acknowledgedAt } = await load.publish({ rate: RATE, count, message });
    const expected = transitions(count);
    for (const way of ['MQTT', 'WebSocket'] as const) {
      const all = () => arrivals[way].size >= expected.size;
      await eventually(`${expected.size} alerts by ${way}`, all, ARRIVED_WITHIN_MS);
    }
    const cpu = (cpuSecondsOf(target.pid) - before) * 1e6;
    for (const one of [...open, load]) one.close();
    if (twice.length > 0) throw new Error(`alerts that came twice: ${twice.join(', ')}`);
    const figures = (way: Way): Figures => {
      const steady = [...expected].filter(([, index]) => index >= skipped);
      const since = (times: Float64Array) =>
        steady.map(([key, index]) => (arrivals[way].get(key) ?? Number.NaN) - (times[index] ?? 0));
      const [whole, fromLog] = [since(sentAt), since(acknowledgedAt)];
      return {
        p50: percentile(whole, 0.5),
        p99: percentile(whole, 0.99),
        logP50: percentile(fromLog, 0.5),
        logP99: percentile(fromLog, 0.99),
      };
    };
    return {
      MQTT: figures('MQTT'),
      WebSocket: figures('WebSocket'),
      cpuAlert: cpu / expected.size,
      cpuReading: cpu / count,
    };
  } finally {
    await target.remove();
  }
}
