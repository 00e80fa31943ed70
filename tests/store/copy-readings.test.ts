import { afterAll, beforeAll, expect, test } from 'bun:test';
import fc from 'fast-check';
import { defineModel } from '../../src/domain/model.ts';
import type { Sql, TransactionSql } from '../../src/store/connection.ts';
import { copyReadings, type StoredReading } from '../../src/store/copy-readings.ts';
import { insertReadings } from '../../src/store/insert-readings.ts';
import { migrate } from '../../src/store/migrate.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { NO_POINTS } from '../../src/store/point-columns.ts';
import { testDatabase } from '../support/postgres.ts';

const model = defineModel({
  topic: 'users/{user_id}/devices/{device_id}/telemetry',
  extraColumn: 'extra_data',
  table: 'all_types',
  columns: {
    level: { type: 'double', nullable: true },
    count: { type: 'integer', nullable: true },
    open: { type: 'boolean', nullable: true },
    note: { type: 'text', nullable: true, maxLength: 1_000 },
  },
});

const MONTH = Date.UTC(2024, 4, 1) * 1_000;
let sql: Sql;
let close = async () => {};
beforeAll(async () => {
  const database = await testDatabase({ empty: true });
  ({ sql } = database);
  close = database.drop;
  await migrate(sql, model);
  await createPartitionMaker(sql, model).ensure([MONTH]);
});
afterAll(() => close());

/** What Postgres stores: neither NUL nor half a character. */
const text = (maxLength: number) =>
  fc.string({ unit: 'binary', maxLength }).map((any) => any.replaceAll('\0', '').toWellFormed());
const nullable = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const reading = fc
  .record({
    micros: fc.integer({ min: 0, max: 2_600_000_000_000 }),
    userId: text(40),
    deviceId: text(40),
    sequenceId: fc.maxSafeNat(),
    // The decoder makes a zero of -0, which JSON doesn't have either.
    level: nullable(fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n || 0)),
    count: nullable(fc.integer()),
    open: nullable(fc.boolean()),
    note: nullable(text(1_000)),
    extra: nullable(fc.dictionary(text(20), fc.oneof(text(200), fc.integer(), fc.boolean()))),
  })
  .map(
    ({ micros, userId, deviceId, sequenceId, extra, ...columns }): StoredReading => ({
      reading: { time: MONTH + micros, userId, deviceId, sequenceId, columns, extra },
      extraText: extra === null ? null : JSON.stringify(extra),
    }),
  );
const readings = fc.uniqueArray(reading, {
  selector: ({ reading: { sequenceId } }) => sequenceId,
  minLength: 1,
  maxLength: 30,
});

/** The rows as Postgres writes them, once `store` has run; nothing of it stays. */
async function rowsAfter(store: (tx: TransactionSql) => Promise<void>): Promise<string[]> {
  let rows: string[] = [];
  const undone = new Error('undone');
  const work = async (tx: TransactionSql) => {
    await store(tx);
    const found = await tx.unsafe<{ row: string }[]>(
      `SELECT t::text AS row FROM ${model.table} t ORDER BY sequence_id`,
    );
    rows = found.map(({ row }) => row);
    throw undone;
  };
  await sql
    .begin((tx) => work(tx as unknown as TransactionSql))
    .catch((error: unknown) => {
      if (error !== undone) throw error;
    });
  return rows;
}

test('COPY stores to the digit and the character what INSERT stores', async () => {
  await fc.assert(
    fc.asyncProperty(readings, async (rows) => {
      const inserted = await rowsAfter((tx) => insertReadings(tx, model, rows, NO_POINTS));
      const copied = await rowsAfter((tx) => copyReadings(tx, model, rows, NO_POINTS));
      expect(inserted).toHaveLength(rows.length);
      expect(copied).toEqual(inserted);
    }),
  );
}, 30_000);
