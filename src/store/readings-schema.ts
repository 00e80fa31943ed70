import type { Column, Model } from '../domain/model.ts';
import { literal } from './literal.ts';

const SQL_TYPES = {
  double: 'double precision',
  integer: 'integer',
  text: 'text',
  boolean: 'boolean',
} as const;

/** Of a point it is what the server has for it: see `addPoints`. */
export function sqlType({ type }: Column): string | null {
  return type === 'point' ? null : SQL_TYPES[type];
}

/** The columns that identify a reading, with their types, in the order of the key. */
export function keyColumns(model: Model): string[] {
  return [
    'time timestamptz',
    ...ofDevice(model).map((name) => `${name} text`),
    ...inTime(model).map((name) => `${name} bigint`),
  ];
}

/** The columns that name a device. */
function ofDevice({ owner, device }: Model): string[] {
  return 'column' in owner ? [owner.column, device.column] : [device.column];
}

/** The column that tells a device's readings of one time apart, where there is one. */
function inTime({ sequence }: Model): string[] {
  return sequence === null ? [] : [sequence.column];
}

/**
 * A hypertable where the server runs TimescaleDB, whose own settings betray that it was preloaded
 * (being available alone is not enough); elsewhere monthly partitions, made before they are needed.
 */
export function readings(model: Model): string {
  const columns = [
    ...keyColumns(model).map((column) => `${column} NOT NULL`),
    ...Object.entries(model.columns).flatMap(([name, column]) => {
      const type = sqlType(column);
      return type === null ? [] : [`${name} ${type}${column.nullable ? '' : ' NOT NULL'}`];
    }),
    `${model.extraColumn} jsonb`,
    `PRIMARY KEY (${model.key.join(', ')})`,
  ];
  return `
-- A hypertable where TimescaleDB runs; elsewhere monthly partitions, which the writer makes before
-- it needs them.
DO $$
DECLARE
  extension_schema name;
BEGIN
  IF current_setting('timescaledb.max_background_workers', true) IS NOT NULL
     AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    BEGIN
      CREATE EXTENSION timescaledb;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE insufficient_privilege USING MESSAGE =
        format('this server runs TimescaleDB, and %I may not create it in this database: as a '
          'superuser run CREATE EXTENSION timescaledb in it, and start again', current_user);
    END;
  END IF;
  SELECT nspname INTO extension_schema FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'timescaledb';
  IF extension_schema IS NOT NULL THEN
    CREATE TABLE ${model.table} (
      ${columns.join(',\n      ')}
    );
    EXECUTE format(
      $f$SELECT %I.create_hypertable('${model.table}', 'time', create_default_indexes => false)$f$,
      extension_schema);
  ELSE
    CREATE TABLE ${model.table} (
      ${columns.join(',\n      ')}
    ) PARTITION BY RANGE (time);
  END IF;
END $$;

CREATE INDEX ${model.table}_device_time ON ${model.table} (${ofDevice(model).join(', ')}, time DESC);${restOf(model)}`;
}

/** What a column may be, and the points. */
function restOf(model: Model): string {
  const columns = Object.entries(model.columns);
  const points = columns.filter(([, { type }]) => type === 'point').map(([name]) => name);
  const parts = columns.flatMap(([name, column]) => addValues(model, name, column) ?? []);
  if (points.length > 0) parts.push(addPoints(model, points));
  return parts.map((part) => `\n${part}`).join('');
}

export function valuesConstraint(column: string): string {
  return `${column}_values`;
}

/** The statement that has the server check the values of a column too; null where any will do. */
export function addValues({ table }: Model, name: string, column: Column): string | null {
  if (column.type !== 'text' || column.values === undefined) return null;
  const list = column.values.map(literal).join(', ');
  return `ALTER TABLE ${table} ADD CONSTRAINT ${valuesConstraint(name)} CHECK (${name} IN (${list}));`;
}

/**
 * Adds declared points: geometry where PostGIS is in the database, or is there for the asking;
 * elsewhere the server's own. From then on the column's type says which it is.
 */
export function addPoints(model: Model, names: readonly string[]): string {
  const columns = names.map((name) => {
    const notNull = model.columns[name]?.nullable ? '' : ' NOT NULL';
    return `ADD COLUMN ${name} %1$s${notNull}`;
  });
  return `
-- PostGIS geometry where it can be had, else the server's own points.
DO $$
DECLARE
  extension_schema name;
BEGIN
  IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'postgis')
     AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'postgis') THEN
    BEGIN
      CREATE EXTENSION postgis;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE NOTICE 'points are not PostGIS geometry: % may not create the extension', current_user;
    END;
  END IF;
  SELECT nspname INTO extension_schema FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'postgis';
  EXECUTE format('ALTER TABLE ${model.table} ${columns.join(', ')}',
    CASE WHEN extension_schema IS NULL THEN 'point'
         ELSE format('%I.geometry(Point, 4326)', extension_schema) END);
END $$;`;
}

/**
 * Compresses what is older than a week, where TimescaleDB's edition can (its Apache edition can't).
 * A late reading still goes into a compressed chunk, and its key is still held unique there.
 */
export function compression(model: Model): string {
  return `
DO $$
DECLARE
  extension_schema name;
BEGIN
  SELECT nspname INTO extension_schema FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'timescaledb';
  IF extension_schema IS NULL THEN
    RETURN;
  END IF;
  IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
    RAISE NOTICE 'readings are not compressed: this edition of TimescaleDB does not do it';
    RETURN;
  END IF;
  ALTER TABLE ${model.table} SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = '${ofDevice(model).join(', ')}',
    timescaledb.compress_orderby = '${['time DESC', ...inTime(model)].join(', ')}'
  );
  EXECUTE format(
    $f$SELECT %I.add_compression_policy('${model.table}', INTERVAL '7 days', if_not_exists => true)$f$,
    extension_schema);
END $$;`;
}
