import type { Batch } from './batch.ts';
import { RewindError } from './rewind.ts';

/**
 * The records that the database refuses (SQLSTATE classes 22, 23 and 54), until they are stored as
 * dead letters; and the search for those that it refuses for what came of them, an alert or a
 * device's state: by writing half as much, until a batch of one record is refused.
 */
export interface Refusals {
  /** What the database said of a record; undefined where it said nothing. */
  detailOf(offset: number): string | undefined;
  add(offset: number, detail: string): void;
  /**
   * A batch is refused, and none of its readings is at fault.
   *
   * @returns the way to find the record that is
   * @throws Error where no record is, or too many are: then the fault is in the tables
   */
  blame(batch: Batch, error: Error): RewindError;
  /** Most records that the next batch may take: few during a search. */
  maxRecords(): number;
  committed(batch: Batch): void;
}

/** Records that may be blamed whatever the number of good ones, and beyond them one in a thousand. */
const ALWAYS_BLAMED = 10;
const GOOD_PER_BLAMED = 1_000;

const NO_SEARCH = { maxRecords: Number.POSITIVE_INFINITY, lastOffset: -1 };

export function createRefusals(): Refusals {
  const details = new Map<number, string>();
  let search = NO_SEARCH;
  let blamed = 0;
  let good = 0;

  function blame(batch: Batch, error: Error): RewindError {
    const { records, lastOffset } = batch;
    const refusedAgain = records === 1 && details.has(lastOffset);
    const tooMany = blamed >= ALWAYS_BLAMED + good / GOOD_PER_BLAMED;
    if (records === 0 || refusedAgain || tooMany) throw new Error(explain(error), { cause: error });
    if (records > 1) {
      const until = Math.max(search.lastOffset, lastOffset);
      search = { maxRecords: records >> 1, lastOffset: until };
      return new RewindError('halve', `looking for the record at fault: ${error.message}`);
    }
    blamed++;
    search = NO_SEARCH;
    details.set(lastOffset, error.message);
    return new RewindError(
      'refused',
      `the record at ${lastOffset} is dead-lettered: ${error.message}`,
    );
  }

  return {
    detailOf: (offset) => (details.size > 0 ? details.get(offset) : undefined),
    add: (offset, detail) => void details.set(offset, detail),
    blame,
    maxRecords: () => search.maxRecords,
    committed(batch) {
      good += batch.readings.length;
      for (const offset of details.keys()) if (offset <= batch.lastOffset) details.delete(offset);
      if (batch.lastOffset < search.lastOffset) return;
      search = NO_SEARCH;
    },
  };
}

function explain(error: Error): string {
  const { table_name: table, constraint_name: constraint } = error as Error &
    Record<string, unknown>;
  const where = [table && `table ${table}`, constraint && `constraint ${constraint}`];
  const named = where.filter(Boolean).join(', ');
  return (
    `the database refuses what belongs to no reading${named && ` (${named})`}: ${error.message}. ` +
    'Mend the constraint, trigger or column of that table that Pulsegraph did not make, then restart'
  );
}
