import type { TransactionSql } from './connection.ts';

/**
 * Has the planner take indexes for the rest of this transaction. A batch touches a few rows by their
 * keys; but its lists are taken for a hundred rows each, and for so many a planner reads all of a
 * table of some thousands. And keeps the plans of functions: those of each call take 0.35 of 2.1 ms
 * of the server's CPU, of 8 readings and a transition. Joins are left to it: a large batch's list
 * with itself, without a hash, takes seconds.
 */
export async function planByIndex(tx: TransactionSql): Promise<void> {
  await tx.unsafe(PLAN_BY_INDEX);
}

/** The same as statements. */
export const PLAN_BY_INDEX =
  'SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan';
