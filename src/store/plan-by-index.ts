import type { TransactionSql } from './connection.ts';

/**
 * Has the planner take indexes for the rest of this transaction. A batch touches a few rows by their
 * keys; but its lists are taken for a hundred rows each, and for so many a planner reads all of a
 * table of some thousands.
 */
export async function planByIndex(tx: TransactionSql): Promise<void> {
  await tx.unsafe(PLAN_BY_INDEX);
}

/** The same as a statement. */
export const PLAN_BY_INDEX =
  'SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off';
