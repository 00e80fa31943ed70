import type { Sql, TransactionSql } from '../store/connection.ts';
import { errorCode } from '../store/failure.ts';
import { setLocalTimeouts } from '../store/local-timeouts.ts';
import { lockRuleVersions, usersWithHeldRules } from '../store/lock-rule-versions.ts';

/** Another transaction holds the rules of one of these users. */
export class HeldRulesError extends Error {
  /** lock_not_available: wait, and try again. */
  readonly code = '55P03';

  constructor(
    readonly userIds: readonly string[],
    options?: ErrorOptions,
  ) {
    const names = userIds.slice(0, 5).map((id) => JSON.stringify(id));
    const others = userIds.length - names.length;
    const users = `${names.join(', ')}${others > 0 ? ` and ${others} others` : ''}`;
    super(
      `a transaction holds user_configs of ${users}: commit it or end it ` +
        "(pg_stat_activity shows it as 'idle in transaction')",
      options,
    );
  }
}

/**
 * The lock under which the transitions of a batch are committed: no rules change between the look
 * at them and the commit. Where somebody holds the rules of one user for long, all the others must
 * not wait for ever; then their versions are read without it, last of all. What a change commits
 * in the moment after that is met by the sweep which follows every change.
 */
export interface RuleLock {
  isWorthATry(): boolean;
  /** They were locked by somebody else's statement, and in time. */
  obtained(): void;
  /** @throws HeldRulesError */
  versions(tx: TransactionSql, userIds: Iterable<string>): Promise<Map<string, number>>;
  /** The error with the names of those whose rules are held alone. */
  explain(error: HeldRulesError): Promise<HeldRulesError>;
}

/** Tries in a row that are given to whoever holds them; then one in so many batches. */
const TRIES = 3;
const BATCHES_WITHOUT = 50;

export function createRuleLock(sql: Sql): RuleLock {
  let failures = 0;
  let batchesLeft = 0;

  return {
    isWorthATry() {
      if (batchesLeft === 0) return true;
      batchesLeft--;
      return false;
    },
    obtained() {
      failures = 0;
    },
    async versions(tx, userIds) {
      try {
        const versions = await lockRuleVersions(tx, userIds);
        failures = 0;
        return versions;
      } catch (error) {
        if (errorCode(error) !== '55P03') throw error;
        if (++failures >= TRIES) batchesLeft = BATCHES_WITHOUT;
        throw new HeldRulesError([...userIds], { cause: error });
      }
    },
    async explain(error) {
      const held = await sql.begin(async (transactionSql) => {
        const tx = transactionSql as unknown as TransactionSql;
        await setLocalTimeouts(tx);
        return await usersWithHeldRules(tx, error.userIds);
      });
      return held.length > 0 ? new HeldRulesError(held, { cause: error.cause }) : error;
    },
  };
}
