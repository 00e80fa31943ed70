import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import {
  type Column,
  defineModel,
  type Model,
  type ModelDefinition,
} from '../../src/domain/model.ts';
import { breakingChanges, modelRecord } from '../../src/domain/model-change.ts';
import { StartError } from '../../src/domain/start-error.ts';
import { deviceKey } from '../../src/domain/topic.ts';
import { addReading, createBatch } from '../../src/engine/batch.ts';
import { createRollUp } from '../../src/engine/roll-up.ts';
import { createWriter } from '../../src/engine/write.ts';
import { connect } from '../../src/store/connection.ts';
import { migrate } from '../../src/store/migrate.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { readPointTypes } from '../../src/store/point-columns.ts';
import { readingsPages } from '../../src/store/readings-page.ts';
import { telemetryBuckets } from '../../src/store/telemetry-buckets.ts';
import { lockWatermark } from '../../src/store/watermark.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

type Columns = Record<string, Column>;

const COLUMNS: Columns = {
  temperature: { type: 'double', nullable: true, min: -50, max: 50 },
  battery: { type: 'integer', nullable: false, min: 0, max: 100 },
  status: { type: 'text', nullable: true, maxLength: 10, values: ['ON', 'OFF'] },
  note: { type: 'text', nullable: true, maxLength: 10 },
};
const SHORTHANDS = { hot: { id: 'hot', key: 'temperature', operator: '>' } } as const;

/** The first model with columns of another kind, or none of a name. */
function modelWith(
  columns: Record<string, Column | undefined> = {},
  rest: Partial<ModelDefinition<Columns>> = {},
): Model {
  const all = Object.entries({ ...COLUMNS, ...columns }).filter(([, column]) => column);
  return defineModel({
    table: 'machines',
    topic: 'users/{user_id}/devices/{device_id}/telemetry',
    columns: Object.fromEntries(all) as Columns,
    extraColumn: 'extra_data',
    shorthands: SHORTHANDS,
    ...rest,
  });
}

const FIRST = modelWith();
const DAY = Date.UTC(2024, 4, 1) * 1_000;
const MINUTE = 60_000_000;
const LOG = { logId: 'log', topic: 'topic', partition: 0 };
const DEVICE = { userId: 'ann', deviceId: 'press' };

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase({ empty: true });
  await migrate(db.sql, FIRST);
}, 30_000);
afterEach(() => db.drop(), 30_000);

/** Writes readings a minute apart, by COPY and as redelivered; `at` is minutes into the day. */
async function write(model: Model, at: number, ...rows: Record<string, unknown>[]): Promise<void> {
  const partitions = createPartitionMaker(db.sql, model);
  const writer = createWriter({ sql: db.sql, model, partitions }, { log: LOG });
  for (const replay of [false, true]) {
    const watermark = await lockWatermark(db.sql, LOG);
    const batch = createBatch();
    batch.replay = replay;
    for (const [n, columns] of rows.entries()) {
      const time = DAY + (at + n) * MINUTE;
      const reading = { ...DEVICE, time, sequenceId: n, columns, extra: null } as never;
      addReading(batch, { reading, extraText: null, offset: 0, device: deviceKey(DEVICE) });
    }
    batch.records = rows.length;
    batch.lastOffset = watermark.offset + 1;
    await writer.write(batch, watermark);
  }
}

async function columnsOf(model: Model): Promise<Record<string, unknown>[]> {
  const page = { from: null, to: null, order: 'ASC', after: null, limit: 100 } as const;
  return (await readingsPages(db.sql, model, [DEVICE], page)).map(({ columns }) => columns);
}

async function rollUp(model: Model): Promise<void> {
  const { signal } = new AbortController();
  const nowMs = () => (DAY + 24 * 60 * MINUTE) / 1_000;
  const round = createRollUp({ sql: db.sql, model, signal, nowMs });
  while (await round()) {}
}

/** Per quarter of an hour, from the rollups where there are any. */
async function quarters(model: Model, key: string) {
  const width = 15 * MINUTE;
  const start = (n: number) => DAY + n * width;
  const rows = await telemetryBuckets(db.sql, model, {
    ...{ userId: 'ann', deviceIds: ['press'], keys: [key], width, ends: true },
    buckets: [0, 1, 2, 3].map((n) => ({ start: start(n), end: start(n + 1) })),
    range: { from: DAY, to: start(4) },
  });
  return rows.map(({ bucket, count, sum, first, last }) => [bucket, count, sum, first, last]);
}

async function additions(model: Model): Promise<string[]> {
  const told: string[] = [];
  expect(await migrate(db.sql, model, { onAdapted: (what) => told.push(...what) })).toEqual([]);
  return told;
}

async function refusal(model: Model): Promise<string> {
  const error = await migrate(db.sql, model).then(
    () => null,
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(StartError);
  return (error as StartError).message;
}

describe('what only adds to a model is added to the tables', () => {
  test('the same model again adds nothing', async () => {
    const [before] = await db.sql`SELECT xmin::text, model FROM stream_model`;
    expect(await additions(modelWith())).toEqual([]);
    expect((await db.sql`SELECT xmin::text, model FROM stream_model`)[0]).toEqual(before);
  }, 20_000);

  test('columns of every type, which the writer fills and old readings lack', async () => {
    await write(FIRST, 0, { temperature: 1, battery: 5, status: 'ON', note: null });
    const next = modelWith({
      humidity: { type: 'double', nullable: true },
      strokes: { type: 'integer', nullable: true },
      place: { type: 'point', nullable: true },
      mode: { type: 'text', nullable: true, maxLength: 9, values: ['AUTO'] },
      open: { type: 'boolean', nullable: true },
    });
    expect(await additions(next)).toEqual([
      'rollups of humidity',
      'rollups of strokes',
      ...['humidity', 'strokes', 'place', 'mode', 'open'].map((name) => `columns.${name} is new`),
    ]);
    const row = { temperature: 2, battery: 6, status: null, note: 'n', humidity: 0.5, strokes: 7 };
    const point = { latitude: 1.5, longitude: -2.5 };
    const full = { ...row, place: point, mode: 'AUTO', open: true };
    await write(next, 1, full);
    const none = { humidity: null, strokes: null, place: null, mode: null, open: null };
    expect(await columnsOf(next)).toEqual([
      { temperature: 1, battery: 5, status: 'ON', note: null, ...none },
      full,
    ]);
    expect((await readPointTypes(db.sql, next)).get('place')).toBe('point');
    const wrong = db.sql`UPDATE machines SET mode = 'MANUAL'`;
    await expect(wrong.execute()).rejects.toThrow('mode_values');
    expect(await additions(next)).toEqual([]);
  }, 30_000);

  test('rollups of a new column are right for readings of before and behind', async () => {
    const old = { temperature: 10, battery: 1, status: null, note: null };
    await write(FIRST, 0, old, { ...old, temperature: 20 });
    await rollUp(FIRST);
    const next = modelWith({ humidity: { type: 'double', nullable: true } });
    await additions(next);
    expect(await quarters(next, 'temperature')).toEqual([[0, 2, 30, 10, 20]]);
    expect(await quarters(next, 'humidity')).toEqual([]);
    await write(next, 30, { ...old, humidity: 3 }, { ...old, humidity: 4 });
    // Late, into a step that is rolled up without it.
    await write(next, 5, { ...old, humidity: 8 });
    await rollUp(next);
    const [{ marks } = { marks: -1 }] =
      await db.sql`SELECT count(*)::int AS marks FROM rollup_marks`;
    expect(marks).toBe(0);
    expect(await quarters(next, 'humidity')).toEqual([
      [0, 1, 8, 8, 8],
      [2, 2, 7, 3, 4],
    ]);
    expect(await quarters(next, 'temperature')).toEqual([
      [0, 3, 40, 10, 10],
      [2, 2, 20, 10, 10],
    ]);
  }, 30_000);

  test('a builder that does not know the column makes no rollups without it', async () => {
    const next = modelWith({ humidity: { type: 'double', nullable: true } });
    await additions(next);
    await write(next, 0, { temperature: 1, battery: 1, status: null, note: null, humidity: 5 });
    await expect(rollUp(FIRST)).rejects.toThrow('humidity_count');
    await rollUp(next);
    expect(await quarters(next, 'humidity')).toEqual([[0, 1, 5, 5, 5]]);
  }, 30_000);

  test('a column that was added and filled by hand is rolled up with what it holds', async () => {
    await write(FIRST, 0, { temperature: 1, battery: 1, status: null, note: null });
    await rollUp(FIRST);
    await db.sql`UPDATE machines SET extra_data = '{"humidity": 5}'`;
    await db.sql`ALTER TABLE machines ADD COLUMN humidity double precision`;
    await db.sql`
      UPDATE machines SET humidity = (extra_data->>'humidity')::double precision
      WHERE jsonb_typeof(extra_data->'humidity') = 'number'`;
    const next = modelWith({ humidity: { type: 'double', nullable: true } });
    expect(await additions(next)).toEqual(['rollups of humidity']);
    await rollUp(next);
    expect(await quarters(next, 'humidity')).toEqual([[0, 1, 5, 5, 5]]);
    expect(await quarters(next, 'temperature')).toEqual([[0, 1, 1, 1, 1]]);
  }, 30_000);

  test('more values, and any; null where none was allowed', async () => {
    const row = { temperature: null, battery: 1, status: 'ON', note: null };
    await write(FIRST, 0, row);
    const more = modelWith({
      status: { type: 'text', nullable: true, maxLength: 10, values: ['ON', 'OFF', "IT'S"] },
      battery: { type: 'integer', nullable: true, min: 0, max: 100 },
    });
    expect(await additions(more)).toEqual(['columns.battery may be null', 'columns.status.values']);
    await write(more, 1, { ...row, status: "IT'S", battery: null });
    // A partition made from now on has them too.
    await write(more, 60 * 24 * 40, { ...row, status: "IT'S" });
    const wrong = db.sql`UPDATE machines SET status = 'LOST'`;
    await expect(wrong.execute()).rejects.toThrow('status_values');
    const any = modelWith({
      status: { type: 'text', nullable: true, maxLength: 12 },
      battery: { type: 'integer', nullable: true, min: -5, max: 100 },
    });
    expect(await additions(any)).toEqual(['columns.status.values']);
    await write(any, 2, { ...row, status: 'LOST', battery: -5 });
    expect((await columnsOf(any)).map(({ status }) => status)).toEqual([
      'ON',
      "IT'S",
      'LOST',
      "IT'S",
    ]);
  }, 30_000);

  test('wider ranges and longer text are remembered: what was narrower is refused then', async () => {
    const wider = modelWith({
      temperature: { type: 'double', nullable: true, max: 60 },
      note: { type: 'text', nullable: true, maxLength: 20 },
    });
    expect(await additions(wider)).toEqual([]);
    const said = await refusal(FIRST);
    expect(said).toContain('columns.temperature.min: was none, is -50: stored readings may');
    expect(said).toContain('columns.temperature.max: was 60, is 50');
    expect(said).toContain('columns.note.maxLength: was 20, is 10');
    expect(await additions(wider)).toEqual([]);
  }, 20_000);

  test('a shorthand that users set by SQL from then on', async () => {
    await db.sql`INSERT INTO user_configs (user_id, hot) VALUES ('ann', 40)`;
    const next = modelWith(
      {},
      { shorthands: { ...SHORTHANDS, empty: { id: 'empty', key: 'battery', operator: '<' } } },
    );
    expect(await additions(next)).toEqual(['shorthands.empty is new']);
    await db.sql`UPDATE user_configs SET empty = 5 WHERE user_id = 'ann'`;
    const changes = await db.sql`SELECT version, content FROM rule_changes ORDER BY version`;
    expect(changes.map(({ version, content }) => [version, content.hot, content.empty])).toEqual([
      [1, 40, undefined],
      [2, 40, 5],
    ]);
  }, 20_000);

  test('by several replicas at once, beside a lane that writes', async () => {
    const next = modelWith({ humidity: { type: 'double', nullable: true } });
    const row = { temperature: 1, battery: 1, status: null, note: null };
    const pools = [1, 2, 3].map(() => connect(db.url, { max: 1 }));
    const told: string[] = [];
    const onAdapted = (what: readonly string[]) => told.push(...what);
    const migrating = Promise.all(pools.map((sql) => migrate(sql, next, { onAdapted })));
    for (let n = 0; n < 10; n++) await write(FIRST, 10 * n, row);
    await migrating;
    expect(told).toEqual(['rollups of humidity', 'columns.humidity is new']);
    await write(next, 200, { ...row, humidity: 1 });
    expect((await columnsOf(next)).length).toBe(11);
    await Promise.all(pools.map((sql) => sql.end({ timeout: 1 })));
  }, 60_000);
});

describe('anything else is refused, and nothing is changed', () => {
  const refused: [string, Model, string[]][] = [
    ['a column that is gone', modelWith({ note: undefined }), ['columns.note: is gone']],
    [
      'a changed type, with each other difference',
      modelWith(
        {
          temperature: { type: 'text', nullable: true, maxLength: 5 },
          status: { type: 'text', nullable: false, maxLength: 10, values: ['ON'] },
          humidity: { type: 'double', nullable: true },
        },
        { shorthands: {} },
      ),
      [
        'columns.temperature.type: was "double", is "text"',
        'columns.status.nullable: was true, is false',
        'columns.status.values: lacks OFF',
        'shorthands.hot: is gone',
      ],
    ],
    [
      'a column that must not be null',
      modelWith({ humidity: { type: 'double', nullable: false } }),
      ['columns.humidity: is new and not nullable: make it nullable'],
    ],
    [
      'values where there were none',
      modelWith({ note: { type: 'text', nullable: true, maxLength: 10, values: ['A'] } }),
      ['columns.note.values: there were none'],
    ],
    [
      'a renamed key',
      modelWith({}, { device: { column: 'machine_id' }, topic: 'u/{user_id}/m/{machine_id}/t' }),
      ['device: was {"column":"device_id"}, is {"column":"machine_id"}', 'topic: was "users/'],
    ],
    ['a key without a sequence', modelWith({}, { sequence: null }), ['sequence: was {"column":']],
    ['another column for the rest', modelWith({}, { extraColumn: 'rest' }), ['extraColumn: was']],
    [
      'a shorthand of another key',
      modelWith({}, { shorthands: { hot: { ...SHORTHANDS.hot, operator: '<' } } }),
      ['shorthands.hot.operator: was ">", is "<"'],
    ],
  ];
  test.each(refused)(
    '%s',
    async (_, model, lines) => {
      const state = async () => [
        await db.sql`SELECT * FROM stream_model`,
        await db.sql`
        SELECT attrelid::regclass::text, attname, attnotnull FROM pg_attribute
        JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace`,
      ];
      const before = await state();
      const said = await refusal(model);
      expect(said.split('\n').slice(1, -1)).toHaveLength(lines.length);
      for (const line of lines) expect(said).toContain(`  ${line}`);
      expect(said).toContain('give this model a database of its own');
      expect(await state()).toEqual(before);
      expect(await additions(FIRST)).toEqual([]);
    },
    20_000,
  );

  test('the model of another table', async () => {
    const said = await refusal(modelWith({}, { table: 'presses' }));
    expect(said).toContain('of a model with machines, and this model has presses');
    await db.sql`DROP TABLE machines`;
    expect(await refusal(FIRST)).toContain('and this model has machines');
  }, 20_000);

  test('also by the tables alone, where a database of before is upgraded under it', async () => {
    const old = await testDatabase({ empty: true });
    try {
      await migrate(old.sql, FIRST, { upTo: 16 });
      const wrong = modelWith({ humidity: { type: 'double', nullable: false } });
      await expect(migrate(old.sql, wrong)).rejects.toThrow('columns.humidity: is new and not');
      const other = modelWith({}, { table: 'presses' });
      await expect(migrate(old.sql, other)).rejects.toThrow(
        'of a model with another table, and this',
      );
      const text = modelWith({ battery: { type: 'text', nullable: false, maxLength: 5 } });
      await expect(migrate(old.sql, text)).rejects.toThrow('is not what is stored, int4');
      const next = modelWith({ humidity: { type: 'double', nullable: true } });
      expect((await migrate(old.sql, next))[0]).toBe(17);
      expect(await migrate(old.sql, next)).toEqual([]);
    } finally {
      await old.drop();
    }
  }, 30_000);

  test('after a change by hand the tables count as they are', async () => {
    await db.sql`ALTER TABLE machines DROP COLUMN note`;
    await db.sql`ALTER TABLE machines DROP CONSTRAINT status_values`;
    await db.sql`DELETE FROM stream_model`;
    const next = modelWith({ note: undefined });
    await write(modelWith({ note: undefined }), 0, { battery: 1, status: 'LOST' });
    expect(await refusal(next)).toContain('columns.status.values: stored readings have others');
    await db.sql`UPDATE machines SET status = 'OFF'`;
    expect(await additions(next)).toEqual(['columns.status.values']);
    expect(await additions(FIRST)).toEqual(['columns.note is new']);
  }, 20_000);
});

test('a numeric column that was dropped by hand leaves no rollups behind', async () => {
  await write(FIRST, 0, { temperature: 3, battery: 1 });
  await rollUp(FIRST);
  await db.sql`ALTER TABLE machines DROP COLUMN battery`;
  await db.sql`DELETE FROM stream_model`;
  const next = modelWith({ battery: undefined });
  expect(await additions(next)).toContain('rollups of battery are dropped');
  await write(next, 30, { temperature: 4 });
  await rollUp(next);
  expect(await quarters(next, 'temperature')).toEqual([
    [0, 1, 3, 3, 3],
    [2, 1, 4, 4, 4],
  ]);
}, 30_000);

test('what a model without bounds gains and loses', () => {
  const of = (column: Column) =>
    modelRecord(modelWith({ temperature: column }, { shorthands: {} }));
  const open = of({ type: 'integer', nullable: true });
  const whole = of({ type: 'integer', nullable: true, min: -(2 ** 31), max: 2 ** 31 - 1 });
  expect(breakingChanges(open, whole)).toEqual([]);
  expect(breakingChanges(whole, open)).toEqual([]);
});
