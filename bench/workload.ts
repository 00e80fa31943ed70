/** Records of a made fleet, the same for every contender. */

export interface Workload {
  name: string;
  users: number;
  devices: number;
  records: number;
  /** Share of readings that fire or resolve an alert. */
  transitionShare: number;
  /** Share of records that are sent a second time, batches later. */
  redeliveredShare: number;
}

export interface BenchRecord {
  topic: string;
  key: string;
  value: Uint8Array;
  /** The same reading as a line of COPY text. */
  copyLine: string;
  /** Whether it fires or resolves an alert, where there are rules. */
  isTransition: boolean;
}

export const RULES = [
  { key: 'temperature', operator: '>', threshold: 80, message: 'hot: {value}' },
  { key: 'battery', operator: '<', threshold: 20, message: 'battery at {value}' },
  { key: 'pressure', operator: '>', threshold: 105.5, message: 'overpressure' },
  { key: 'engine.rpm', operator: '>', threshold: 6000, message: 'rpm {value}' },
  { key: 'vibration', operator: '>=', threshold: 9, message: 'vibration' },
];

/** The bar of DESIGN. */
export const FLEET = {
  name: '90 devices',
  users: 30,
  devices: 90,
  transitionShare: 0.001,
  redeliveredShare: 0,
};

/** Of the first reading. */
export const START_MS = Date.UTC(2026, 0, 1);
const REDELIVERY_DISTANCE = 5_000;

/** The first of RULES; past those, rules of the same kinds that never fire. */
export function makeRules(count: number): unknown[] {
  const more = Array.from({ length: Math.max(0, count - RULES.length) }, (_, n) => {
    const { message, ...rule } = RULES[n % RULES.length] as (typeof RULES)[number];
    const far = (n + 1) * (rule.operator === '<' ? -1_000 : 1_000);
    return { ...rule, threshold: rule.threshold + far, message: `${message} ${n}` };
  });
  return [...RULES.slice(0, count), ...more];
}

export function userName(index: number): string {
  return `user_${index}`;
}

/** Devices in turn, one reading a second each; every 1/share-th reading of a device switches it. */
export function makeRecords(workload: Workload): BenchRecord[] {
  const { devices, users, transitionShare, redeliveredShare } = workload;
  const encoder = new TextEncoder();
  const records: BenchRecord[] = [];
  const period = Math.max(1, Math.round(1 / transitionShare));
  const redelivery = redeliveredShare > 0 ? Math.round(1 / redeliveredShare) : 0;
  for (let i = 0; records.length < workload.records; i++) {
    const device = i % devices;
    const sequence = Math.floor(i / devices);
    const user = userName(device % users);
    const ahead = Math.floor((device / devices) * period);
    const half = (n: number) => Math.floor((n + ahead) / period) % 2;
    const hot = half(sequence) === 1;
    const time = new Date(START_MS + sequence * 1000).toISOString();
    const temperature = (hot ? 90 : 50) + (i % 100) / 10;
    const extra = `{"pressure":${100 + (i % 5)},"engine":{"rpm":${3000 + (i % 1000)}},"vibration":${i % 8}}`;
    const payload = `{"time":"${time}","sequence_id":${sequence},"temperature":${temperature},"battery":${50 + (i % 50)},${extra.slice(1)}`;
    records.push({
      topic: `users/${user}/devices/dev_${device}/telemetry`,
      key: `${user}/dev_${device}`,
      value: encoder.encode(payload),
      copyLine: `${time}\t${user}\tdev_${device}\t${sequence}\t${temperature}\t${50 + (i % 50)}\t${extra}\n`,
      isTransition: half(sequence) !== (sequence === 0 ? 0 : half(sequence - 1)),
    });
    const again = records[records.length - REDELIVERY_DISTANCE];
    if (redelivery > 0 && i % redelivery === 0 && again) {
      records.push({ ...again, copyLine: '', isTransition: false });
    }
  }
  return records;
}
