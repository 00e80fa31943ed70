import type { Model } from '../domain/model.ts';
import { rolledColumns } from '../domain/rollup.ts';

/** The table of the rollups, in monthly partitions on every server. */
export const ROLLUPS = 'rollups';

/** What a rollup keeps of each numeric column, and how it is stored; null without a reading. */
const STATISTICS = {
  count: 'integer NOT NULL',
  sum: 'double precision',
  min: 'double precision',
  max: 'double precision',
  first: 'double precision',
  last: 'double precision',
};
export type Statistic = keyof typeof STATISTICS;
export const STATISTIC_NAMES = Object.keys(STATISTICS) as Statistic[];

export function rollupColumn(column: string, statistic: Statistic): string {
  return `${column}_${statistic}`;
}

/**
 * Adds a numeric column to rollups that are made already: no reading has had it until now. Only they
 * have the default, so that a builder of before, in a replica not yet restarted, which would leave
 * the column out of what it makes anew, fails instead.
 */
export function addRollups(column: string): string {
  const columns = STATISTIC_NAMES.map((name) => {
    const fallback = name === 'count' ? ' DEFAULT 0' : '';
    return `ADD COLUMN ${rollupColumn(column, name)} ${STATISTICS[name]}${fallback}`;
  });
  return `ALTER TABLE ${ROLLUPS} ${columns.join(', ')};
ALTER TABLE ${ROLLUPS} ALTER COLUMN ${rollupColumn(column, 'count')} DROP DEFAULT;`;
}

export function dropRollups(column: string): string {
  const columns = STATISTIC_NAMES.map((name) => `DROP COLUMN ${rollupColumn(column, name)}`);
  return `ALTER TABLE ${ROLLUPS} ${columns.join(', ')};`;
}

/** The column of the readings whose count this column holds; null where it holds none. */
export function rolledColumn(name: string): string | null {
  const end = rollupColumn('', 'count');
  return name.endsWith(end) ? name.slice(0, -end.length) : null;
}

export const MAKE_ROLLUPS_ANEW = `
TRUNCATE ${ROLLUPS};
UPDATE rollup_progress SET built_to = '1970-01-01 00:00:00+00';`;

export function rollupsSchema(model: Model): string {
  const columns = [
    'user_id text NOT NULL',
    'device_id text NOT NULL',
    'bucket timestamptz NOT NULL',
    ...rolledColumns(model).flatMap((column) =>
      STATISTIC_NAMES.map((name) => `${rollupColumn(column, name)} ${STATISTICS[name]}`),
    ),
    'PRIMARY KEY (user_id, device_id, bucket)',
  ];
  return `
-- Each device's numeric columns in steps of 15 minutes, made from the readings by the janitor.
CREATE TABLE ${ROLLUPS} (
  ${columns.join(',\n  ')}
) PARTITION BY RANGE (bucket);

-- Steps that got a reading after their rollup was made, or was about to be: those are answered from
-- the readings until the rollup is made anew.
CREATE TABLE rollup_marks (
  user_id text NOT NULL,
  device_id text NOT NULL,
  bucket timestamptz NOT NULL,
  generation bigint NOT NULL,
  PRIMARY KEY (user_id, device_id, bucket, generation)
);

-- One row. A rollup counts when its step is in [kept_from, built_to) and has no mark.
CREATE TABLE rollup_progress (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  -- Of the marks that are set now; only older ones are worked off.
  generation bigint NOT NULL DEFAULT 0,
  -- Whoever writes an older reading sets a mark. Never below built_to.
  horizon timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
  -- With all rollups truncated, set it back to 1970 to have them made anew.
  built_to timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
  kept_from timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'
);
INSERT INTO rollup_progress DEFAULT VALUES;`;
}
