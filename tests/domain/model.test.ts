import { describe, expect, test } from 'bun:test';
import { model as logistics } from '../../examples/logistics/model.ts';
import { model as ticks } from '../../examples/ticks/model.ts';
import { defineModel, ModelError } from '../../src/domain/model.ts';
import { TABLES } from '../../src/domain/model-names.ts';
import { model } from '../../src/model.ts';
import { initSql } from '../../src/store/migrate.ts';

const TICKS = {
  table: 'ticks',
  topic: 'ticks/{symbol}',
  owner: { constant: 'market' },
  device: { column: 'symbol' },
  sequence: null,
  columns: {
    price: { type: 'double', nullable: false, min: 0 },
    volume: { type: 'integer', nullable: true },
    venue: { type: 'text', nullable: true, maxLength: 8 },
  },
  extraColumn: 'extra_data',
  shorthands: { price_min: { id: 'price-min', key: 'price', operator: '<' } },
  rules: [{ key: 'price', operator: '<', threshold: 1, message: 'cheap' }],
};

type Path = (string | number)[];

/** The ticks with one value in another's place. */
function changed(path: Path, value: unknown): object {
  const copy = structuredClone(TICKS) as Record<string | number, unknown>;
  let at = copy;
  for (const name of path.slice(0, -1)) at = at[name] as typeof at;
  at[path.at(-1) as string] = value;
  return copy;
}

function faults(definition: unknown): string[] {
  try {
    defineModel(definition as never);
    return [];
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return error.issues.map(({ path, message }) => `${path} ${message}`);
  }
}

describe('a model', () => {
  test('is that of devices where nothing else is said', () => {
    expect(model.key).toEqual(['time', 'user_id', 'device_id', 'sequence_id']);
    expect(model.owner).toEqual({ column: 'user_id' });
    expect(model.defaults).toEqual({ shorthands: {} });
  });

  test('may name its key, or do without an owner and a sequence', () => {
    expect(ticks.key).toEqual(['time', 'symbol']);
    expect(logistics.key).toEqual(['time', 'customer_id', 'package_id', 'sequence_id']);
    expect(ticks.defaults.rules).toMatchObject([
      { id: 'acme-floor', threshold: 10 },
      { id: 'globex-floor' },
    ]);
  });

  test('bounds integers as the database does', () => {
    const { columns } = defineModel(TICKS as never);
    expect(columns.volume as unknown).toEqual({
      type: 'integer',
      nullable: true,
      min: -2_147_483_648,
      max: 2_147_483_647,
    });
  });
});

describe('a fault names its field and what to write', () => {
  const cases: [Path, unknown, string][] = [
    [['tabel'], 'x', 'tabel is not a field here; known are table, topic'],
    [['table'], undefined, 'table is missing'],
    [['table'], 'Ticks', 'table "Ticks" is not a lower-case SQL identifier'],
    [['table'], 'order', 'table "order" is a reserved word of SQL'],
    [['table'], 'alerts', 'table "alerts" is taken'],
    [['table'], 'pg_ticks', 'table "pg_ticks" is taken'],
    [['table'], 'a'.repeat(49), 'table is 49 characters long; at most 48'],
    [['topic'], 7, 'topic must be text, not the number 7'],
    [['topic'], 'ticks/all', 'topic "ticks/all": write {symbol} as a level of it, once'],
    [['topic'], 'ticks/{symbol}/{symbol}', 'write {symbol} as a level of it, once'],
    [['topic'], 'ticks/{symbol}/{site}', '{site} is neither owner nor device; write {symbol}'],
    [['topic'], 'ticks/+/{symbol}', '"+" can\'t be a level'],
    [['topic'], 'ticks/x{symbol}', '"x{symbol}" can\'t be a level'],
    [['topic'], '$ticks/{symbol}', 'begins with $'],
    [['topic'], '{symbol}', 'give it a level of its own'],
    [['topic'], 'users/{symbol}/config', 'takes in users/+/config'],
    [['owner'], 'market', "owner must be { column: 'user_id' } or { constant: 'market' }"],
    [['owner'], { constant: 'a/b' }, 'owner.constant "a/b" is a user in topics'],
    [['owner'], { constant: '' }, 'owner.constant must be text, not empty text'],
    [['owner'], { constant: 'a', column: 'b' }, 'owner.column is not a field here'],
    [['owner'], { column: 'symbol' }, 'device.column "symbol" is taken'],
    [['owner'], { column: 'device_id' }, 'owner.column "device_id" is taken'],
    [['device'], null, "device must be { column: 'device_id' }, not null"],
    [['device'], { column: 'Symbol' }, 'device.column "Symbol" is not a lower-case'],
    [['device'], { column: 'time' }, 'device.column "time" is taken'],
    [['sequence'], { column: 'symbol' }, 'sequence.column "symbol" is taken'],
    [['sequence'], 7, "sequence must be { column: 'sequence_id' } or null, not the number 7"],
    [['columns'], [], 'columns must be an object'],
    [['columns'], {}, 'columns is empty'],
    [['columns', 'time'], { type: 'text', nullable: true }, 'columns.time "time" is taken'],
    [
      ['columns', 'symbol'],
      { type: 'boolean', nullable: true },
      'columns.symbol "symbol" is taken',
    ],
    [['columns', 'extra_data'], { type: 'boolean', nullable: true }, '"extra_data" is taken'],
    [['columns', 'Price'], { type: 'boolean', nullable: true }, '"Price" is not a lower-case'],
    [['columns', 'limit'], { type: 'boolean', nullable: true }, '"limit" is a reserved word'],
    [['columns', 'pri__ce'], { type: 'boolean', nullable: true }, ''],
    [
      ['columns', 'device__id'],
      { type: 'boolean', nullable: true },
      '"deviceId", its name in GraphQL',
    ],
    [['columns', 'price'], 'double', "columns.price must be an object such as { type: 'double'"],
    [['columns', 'price', 'type'], 'float', 'columns.price.type must be one of double integer'],
    [['columns', 'price', 'nullable'], undefined, 'columns.price.nullable must be true or false'],
    [['columns', 'price', 'maximum'], 1, 'columns.price.maximum is not a field here'],
    [['columns', 'price', 'min'], '0', 'columns.price.min must be a finite number'],
    [['columns', 'price', 'max'], -1, 'columns.price.min is 0, above the max of -1'],
    [['columns', 'volume', 'max'], 2 ** 31, 'columns.volume.max must be a whole number of 32 bits'],
    [['columns', 'venue', 'maxLength'], 0, 'columns.venue.maxLength must be a whole number from 1'],
    [
      ['columns', 'venue', 'values'],
      'XETRA',
      'columns.venue.values must be a list of 1 to 100 texts',
    ],
    [['columns', 'venue', 'values'], [], 'columns.venue.values must be a list of 1 to 100 texts'],
    [
      ['columns', 'venue', 'values'],
      ['A', 7],
      'columns.venue.values.1 must be text, not the number',
    ],
    [['columns', 'venue', 'values'], ['A', 'B', 'A'], 'columns.venue.values.2 "A" is there twice'],
    [['columns', 'venue', 'values'], ['XETRA_DAY'], 'columns.venue.values.0 is 9 characters long'],
    [['columns', 'price', 'values'], ['A'], 'columns.price.values is not a field here'],
    [
      ['columns', 'price'],
      { type: 'point', nullable: true, min: 0 },
      'columns.price.min is not a field here',
    ],
    [['extraColumn'], 'price', 'columns.price "price" is taken'],
    [['extraColumn'], 'symbol', 'extraColumn "symbol" is taken'],
    [['extraColumn'], undefined, 'extraColumn is missing'],
    [['shorthands'], [], 'shorthands must be an object'],
    [['shorthands', 'rules'], {}, 'shorthands.rules "rules" is taken'],
    [
      ['shorthands', 'price_min', 'key'],
      'cost',
      'shorthands.price_min.key must be a declared column',
    ],
    [['shorthands', 'price_min', 'key'], 'venue', 'must be a column of numbers'],
    [['shorthands', 'price_min', 'operator'], '>=', 'shorthands.price_min.operator must be one of'],
    [['shorthands', 'price_min', 'id'], 'a b', 'shorthands.price_min.id must be 1 to 64'],
    [['shorthands', 'price_min', 'unit'], 'eur', 'shorthands.price_min.unit is not a field'],
    [['rules'], {}, 'rules must be a list of rules'],
    [['rules', 0, 'key'], 'cost', 'rules.0.key "cost" is not declared: write a column (price, '],
    [['rules', 0, 'key'], 'symbol', 'rules.0.key "symbol" identifies a reading'],
    [['rules', 0, 'threshold'], 'x', 'rules.0.threshold must be a number'],
    [['rules', 0, 'id'], 'price-min', 'rules.0.id "price-min" is the rule of price_min'],
  ];
  test.each(cases)('%j: %j', (path, value, fault) => {
    expect(faults(TICKS)).toEqual([]);
    if (fault === '') expect(faults(changed(path, value))).toEqual([]);
    else expect(faults(changed(path, value)).join('\n')).toContain(fault);
  });

  test('what is no model at all', () => {
    for (const value of [null, undefined, 7, 'x', []]) {
      expect(faults(value).join()).toContain("must be an object such as { table: 'ticks'");
    }
  });

  test('all of them together', () => {
    expect(faults({ topic: 'x', columns: { price: {} } })).toHaveLength(5);
  });
});

test('no table of the schema can be the readings', () => {
  const made = [...initSql(model).matchAll(/CREATE TABLE (?:IF NOT EXISTS )?(\w+)/g)];
  const others = made.map(([, name]) => name as string).filter((name) => name !== model.table);
  expect(TABLES).toEqual(expect.arrayContaining(others));
});
