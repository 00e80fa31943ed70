import type { Column, Model } from '../domain/model.ts';

export function sqlType(column: Column): string {
  const type = { double: 'double precision', integer: 'integer', text: 'text', boolean: 'boolean' };
  return type[column.type] + (column.nullable ? '' : ' NOT NULL');
}

/**
 * A hypertable where the server runs TimescaleDB, whose own settings betray that it was preloaded
 * (being available alone is not enough); elsewhere monthly partitions, made before they are needed.
 */
export function readings(model: Model): string {
  const columns = [
    'time timestamptz NOT NULL',
    'user_id text NOT NULL',
    'device_id text NOT NULL',
    'sequence_id bigint NOT NULL',
    ...Object.entries(model.columns).map(([name, column]) => `${name} ${sqlType(column)}`),
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

CREATE INDEX ${model.table}_device_time ON ${model.table} (user_id, device_id, time DESC);`;
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
    timescaledb.compress_segmentby = 'user_id, device_id',
    timescaledb.compress_orderby = 'time DESC, sequence_id'
  );
  EXECUTE format(
    $f$SELECT %I.add_compression_policy('${model.table}', INTERVAL '7 days', if_not_exists => true)$f$,
    extension_schema);
END $$;`;
}
