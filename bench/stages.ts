import type { LogRecord } from '../src/domain/log.ts';
import type { RuleSet } from '../src/domain/rule.ts';
import { parseConfig } from '../src/domain/rule-config.ts';
import { mergeConfig, NO_CONTENT, toRuleSet } from '../src/domain/rule-content.ts';
import { createBatch } from '../src/engine/batch.ts';
import { createDecoder } from '../src/engine/decode.ts';
import { addRecord } from '../src/engine/evaluate.ts';
import { model } from '../src/model.ts';
import type { DeviceState } from '../src/store/device-state.ts';
import { encodeCopy } from '../src/store/encode-copy.ts';
import { NO_POINTS } from '../src/store/point-columns.ts';
import { lineOf } from './plain-writer.ts';
import type { Around, Row, Suite } from './suite.ts';
import { FLEET, makeRecords, makeRules, userName } from './workload.ts';

const BATCH = 1_000;
const MIN_ROUNDS = 4;

const CASES: Record<string, { devices: number; rules: number }> = {
  '90 devices, no rules': { devices: 90, rules: 0 },
  '90 devices, 5 rules': { devices: 90, rules: 5 },
  '90 devices, 50 rules': { devices: 90, rules: 50 },
  '100,000 devices, 5 rules': { devices: 100_000, rules: 5 },
};

export const stagesSuite: Suite = {
  name: 'stages',
  title: 'The hot path without I/O',
  about:
    `Batches of ${BATCH.toLocaleString('en')} records through the stages that run on every record, in one ` +
    'thread: microseconds a record, each the fastest of some rounds, as other work only ever adds. ' +
    'Plain: JSON.parse and a template of the line.',
  columns: [
    { key: 'decode', title: 'decode, µs', digits: 2 },
    { key: 'evaluate', title: 'evaluate', digits: 2 },
    { key: 'encode', title: 'encode', digits: 2 },
    { key: 'all', title: 'all three', digits: 2 },
    { key: 'plain', title: 'plain', digits: 2 },
    { key: 'ratio', title: 'times the plain', digits: 2 },
  ],
  cases: Object.keys(CASES),
  measure,
};

async function* measure(
  cases: readonly string[],
  { records: count, rounds }: Around,
): AsyncGenerator<Row, void> {
  for (const name of cases) {
    const { devices, rules } = CASES[name] as { devices: number; rules: number };
    const records = makeRecords({ ...FLEET, devices, records: count }).map(
      ({ topic, key, value }, offset): LogRecord => {
        return { offset, arrivalMs: Date.now(), key, topic, value };
      },
    );
    const ruleSets = rulesOf(rules);
    const taken: Record<'decode' | 'evaluate' | 'encode' | 'plain', number>[] = [];
    for (let round = 0; round < Math.max(MIN_ROUNDS, rounds); round++) {
      taken.push({ ...throughStages(records, ruleSets), plain: throughPlain(records) });
    }
    const of = (stage: keyof (typeof taken)[number]) =>
      (Math.min(...taken.map((times) => times[stage])) * 1_000) / count;
    const [decode, evaluate, encode, plain] = [
      of('decode'),
      of('evaluate'),
      of('encode'),
      of('plain'),
    ];
    const all = decode + evaluate + encode;
    yield { name, decode, evaluate, encode, all, plain, ratio: all / plain };
  }
}

function rulesOf(count: number): Map<string, RuleSet> {
  const parsed = parseConfig({ rules: makeRules(count) }, model);
  if (!parsed.ok) throw new Error(`the workload's rules are refused: ${JSON.stringify(parsed)}`);
  const content = mergeConfig(NO_CONTENT, parsed.config, model);
  const users = Array.from({ length: FLEET.users }, (_, n) => userName(n));
  return new Map(
    users.map((userId) => [userId, toRuleSet({ userId, version: 1, content, model })]),
  );
}

/** Milliseconds in each, over all records. */
function throughStages(records: readonly LogRecord[], rules: ReadonlyMap<string, RuleSet>) {
  const decode = createDecoder(model, { maxPayloadBytes: 65_536 });
  const states = new Map<string, DeviceState>();
  const context = {
    ...{ partition: 0, watermark: -1, coveredAt: 0, maxClockSkew: 300_000_000, rules },
    stateOf: (key: string) => states.get(key),
  };
  const taken = { decode: 0, evaluate: 0, encode: 0 };
  for (let i = 0; i < records.length; i += BATCH) {
    const some = records.slice(i, i + BATCH);
    const begun = performance.now();
    const decoded = some.map(decode);
    const judging = performance.now();
    const batch = createBatch();
    some.forEach((record, n) => {
      addRecord(batch, record, decoded[n] as (typeof decoded)[number], context);
    });
    const encoding = performance.now();
    encodeCopy(model, batch.readings, NO_POINTS);
    taken.decode += judging - begun;
    taken.evaluate += encoding - judging;
    taken.encode += performance.now() - encoding;
    for (const [key, state] of batch.devices) states.set(key, state);
  }
  return taken;
}

function throughPlain(records: readonly LogRecord[]): number {
  const begun = performance.now();
  for (let i = 0; i < records.length; i += BATCH) {
    const some = records.slice(i, i + BATCH);
    Buffer.from(some.map(({ topic, value }) => lineOf({ topic: topic ?? '', value })).join(''));
  }
  return performance.now() - begun;
}
