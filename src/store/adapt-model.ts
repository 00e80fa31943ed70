import { isDeepStrictEqual } from 'node:util';
import type { Column, Model } from '../domain/model.ts';
import { breakingChanges, type ModelRecord, modelRecord } from '../domain/model-change.ts';
import { rolledColumns } from '../domain/rollup.ts';
import { StartError } from '../domain/start-error.ts';
import type { TransactionSql } from './connection.ts';
import { errorCode } from './failure.ts';
import { addPoints, addValues, sqlType, valuesConstraint } from './readings-schema.ts';
import {
  addRollups,
  dropRollups,
  MAKE_ROLLUPS_ANEW,
  ROLLUPS,
  rolledColumn,
} from './rollups-schema.ts';
import { shorthandTriggers } from './rules-schema.ts';
import { readStreamModel, saveStreamModel } from './stream-model.ts';
import { type Table, tableAsIs } from './table-columns.ts';

/** What a model asks of the tables of a database. */
export interface ModelFit {
  before: ModelRecord | null;
  readings: Table;
}

/**
 * Whether the tables can be those of the model, as they are or with something added.
 *
 * @throws StartError that names each difference and what to do
 */
export async function checkModel(tx: TransactionSql, model: Model): Promise<ModelFit> {
  const before = await readStreamModel(tx);
  const readings = await tableAsIs(tx, model.table);
  if (before !== null && before.table !== model.table) throw others(before.table, model);
  if (readings === null) throw others('another table', model);
  const faults = before === null ? [] : breakingChanges(before, modelRecord(model));
  faults.push(...tableFaults(model, readings, before));
  if (faults.length > 0) throw refused(faults);
  return { before, readings };
}

function others(table: string, model: Model): StartError {
  return new StartError(
    'DATABASE_UNUSABLE',
    `the database holds the readings of a model with ${table}, and this model has ${model.table}: ` +
      'one database is for one model. Set MODEL to the file of that one, or name another database ' +
      '(DATABASE_URL; DATA_DIR with the embedded one)',
  );
}

function refused(faults: readonly string[]): StartError {
  return new StartError(
    'DATABASE_UNUSABLE',
    'the model does not fit the tables of the database, where nothing was changed:\n' +
      faults.map((fault) => `  ${fault}\n`).join('') +
      'take it back in the model, or give this model a database of its own: another DATABASE_URL, ' +
      'or DATA_DIR where PostgreSQL is embedded; docs/models.md tells how to change tables by hand',
  );
}

/** What the catalog alone can tell; ranges and the like are in the record. */
function tableFaults(model: Model, table: Table, before: ModelRecord | null): string[] {
  const faults: string[] = [];
  // What was dropped from the model is told already, and what was renamed.
  const told = before === null ? [] : [...keyOf(before), ...Object.keys(before.columns)];
  const known = new Set([...model.key, ...model.columnNames, ...told]);
  if (before === null && table.primaryKey.join() !== model.key.join()) {
    faults.push(
      `the key of ${model.table} is (${table.primaryKey}), the model's is (${model.key})`,
    );
  }
  if (before === null && table.columns.get(model.extraColumn)?.type !== 'jsonb') {
    faults.push(`extraColumn: ${model.table} has no jsonb column ${model.extraColumn}`);
  }
  for (const [name, column] of Object.entries(model.columns)) {
    const stored = table.columns.get(name);
    if (stored === undefined) {
      const add = 'make it nullable, as stored readings lack it';
      if (!column.nullable) faults.push(`columns.${name}: is new and not nullable: ${add}`);
    } else if (!TYPES[column.type].includes(stored.type)) {
      // A type that the model has changed is told already.
      const was = before?.columns[name]?.type ?? column.type;
      if (was !== column.type) continue;
      faults.push(`columns.${name}.type: "${column.type}" is not what is stored, ${stored.type}`);
    } else if (!column.nullable && !stored.notNull && before?.columns[name] === undefined) {
      faults.push(`columns.${name}.nullable: is false, but stored readings may lack it`);
    }
  }
  for (const { name, notNull, hasDefault } of table.columns.values()) {
    if (known.has(name) || !notNull || hasDefault) continue;
    faults.push(
      `${model.table} has a column ${name} that must not be null: declare it, or drop it`,
    );
  }
  return faults;
}

function keyOf({ owner, device, sequence }: ModelRecord): string[] {
  const names = ['time', 'column' in owner ? owner.column : null, device.column, sequence?.column];
  return names.filter((name) => typeof name === 'string');
}

const TYPES: Record<Column['type'], readonly string[]> = {
  double: ['float8'],
  integer: ['int4'],
  text: ['text'],
  boolean: ['bool'],
  point: ['point', 'geometry'],
};

/**
 * Adds to the tables what the model has more than they, in the transaction of the migrations.
 *
 * @returns what was added, for the log; empty mostly
 */
export async function adaptTables(tx: TransactionSql, model: Model): Promise<string[]> {
  const { before, readings } = await checkModel(tx, model);
  const rollups = await tableAsIs(tx, ROLLUPS);
  const configs = await tableAsIs(tx, 'user_configs');
  const changes = [
    ...configChanges(model, configs),
    ...rollupChanges(model, rollups, readings),
    ...readingChanges(model, readings, before),
  ];
  if (changes.length > 0) {
    // In this order, so that we and a lane or the builder of rollups don't wait for each other.
    const tables = ['user_configs', ROLLUPS, model.table];
    const locked = tables.filter((table) => changes.some((change) => change.table === table));
    await tx.unsafe(
      `SET LOCAL lock_timeout = '5s'; LOCK TABLE ${locked.join(', ')} IN ACCESS EXCLUSIVE MODE`,
    );
  }
  for (const { sql, what } of changes) {
    await tx.unsafe(sql).catch((error) => {
      throw errorCode(error) === '23514'
        ? refused([`${what}: stored readings have others`])
        : error;
    });
  }
  if (!isDeepStrictEqual(before, modelRecord(model))) await saveStreamModel(tx, model);
  return changes.map(({ what }) => what);
}

interface Change {
  table: string;
  sql: string;
  what: string;
}

function readingChanges(model: Model, stored: Table, before: ModelRecord | null): Change[] {
  const { table } = model;
  return Object.entries(model.columns).flatMap(([name, column]) => {
    const changes: Change[] = [];
    const at = `columns.${name}`;
    const values = addValues(model, name, column);
    const known = stored.columns.get(name);
    if (known === undefined) {
      const type = sqlType(column);
      const sql =
        type === null
          ? addPoints(model, [name])
          : `ALTER TABLE ${table} ADD COLUMN ${name} ${type}`;
      changes.push({ table, sql: `${sql};${values ?? ''}`, what: `${at} is new` });
      return changes;
    }
    if (known.notNull && column.nullable) {
      const sql = `ALTER TABLE ${table} ALTER COLUMN ${name} DROP NOT NULL`;
      changes.push({ table, sql, what: `${at} may be null` });
    }
    const drop = `ALTER TABLE ${table} DROP CONSTRAINT IF EXISTS ${valuesConstraint(name)};`;
    const was = valuesOf(before?.columns[name]);
    const is = valuesOf(column);
    // What is stored was among fewer values: it need not be read to be sure.
    const sql = before === null ? values : values?.replace(/;$/, ' NOT VALID;');
    if (was !== is || (before === null && is !== null)) {
      changes.push({ table, sql: drop + (sql ?? ''), what: `${at}.values` });
    }
    return changes;
  });
}

function valuesOf(column: Column | undefined): string | null {
  return column?.type === 'text' && column.values !== undefined ? column.values.join('\0') : null;
}

/** Of a column that was added by hand readings may hold values: then all are made anew. */
function rollupChanges(model: Model, rollups: Table | null, readings: Table): Change[] {
  const wanted = rolledColumns(model);
  const there = [...(rollups?.columns.keys() ?? [])].flatMap((name) => rolledColumn(name) ?? []);
  const added = wanted.filter((name) => !there.includes(name));
  // Dropped from the readings by hand; nobody would fill them.
  const dropped = there.filter((name) => !wanted.includes(name));
  const change = (sql: string, what: string) => ({ table: ROLLUPS, sql, what });
  return [
    ...added.map((name) => {
      const anew = readings.columns.has(name) ? MAKE_ROLLUPS_ANEW : '';
      return change(addRollups(name) + anew, `rollups of ${name}`);
    }),
    ...dropped.map((name) => change(dropRollups(name), `rollups of ${name} are dropped`)),
  ];
}

function configChanges(model: Model, configs: Table | null): Change[] {
  const missing = Object.keys(model.shorthands).filter((name) => !configs?.columns.has(name));
  if (missing.length === 0) return [];
  const columns = missing.map((name) => `ADD COLUMN ${name} double precision`).join(', ');
  const sql = `ALTER TABLE user_configs ${columns};${shorthandTriggers(model)}`;
  const what = missing.map((name) => `shorthands.${name} is new`).join(', ');
  return [{ table: 'user_configs', sql, what }];
}
