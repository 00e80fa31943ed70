import { formatMicros } from '../../../src/domain/time.ts';

/** Payloads that no reading can be made of, each for a reason of its own; no two are the same. */
export const BAD: readonly ((number: number, now: number) => string)[] = [
  (number) => `no JSON at all ${number}`,
  (number) => `["no object", ${number}]`,
  (bad) => JSON.stringify({ bad, temperature: 99 }),
  (bad, now) => JSON.stringify({ bad, time: formatMicros(now), sequence_id: 'one' }),
  (bad) => JSON.stringify({ bad, time: 'yesterday', sequence_id: 2_000_000_000 + bad }),
  (bad) => JSON.stringify({ bad, time: '1999-12-31T23:59:59Z', sequence_id: 2_000_000_000 + bad }),
  (bad, now) =>
    JSON.stringify({
      bad,
      time: formatMicros(now),
      sequence_id: 2_000_000_000 + bad,
      battery: 'x',
    }),
  (bad, now) => {
    const time = formatMicros(now);
    return JSON.stringify({ bad, time, sequence_id: 2_000_000_000 + bad, device_id: 'another' });
  },
];
