import type { TransactionSql } from './connection.ts';

/** The longest that one statement of the engine may take; a client waits for twice as long. */
export const STATEMENT_TIMEOUT_MS = 15_000;

/** Bounds every wait of this transaction. LOCAL, as behind a pooler the session is another's next. */
export async function setLocalTimeouts(
  tx: TransactionSql,
  ms: number = STATEMENT_TIMEOUT_MS,
): Promise<void> {
  await tx.unsafe(localTimeouts(ms));
}

/** The same as statements. */
export function localTimeouts(ms: number = STATEMENT_TIMEOUT_MS, lockMs: number = ms): string {
  return `SET LOCAL statement_timeout = ${ms}; SET LOCAL lock_timeout = ${lockMs};
     SET LOCAL idle_in_transaction_session_timeout = ${ms}`;
}
