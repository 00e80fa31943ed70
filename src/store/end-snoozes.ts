import type { RuleOnDevice } from '../domain/alert-operation.ts';
import type { Micros } from '../domain/time.ts';
import { hash } from '../domain/transitions.ts';
import { OPERATION_TIMEOUT_MS } from './acknowledge.ts';
import { appendEvents } from './append-alert-events.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { setLocalTimeouts } from './local-timeouts.ts';

/** The next snoozes whose time is over, by the database's clock: an index range. */
export async function dueSnoozes(sql: Sql, limit: number): Promise<RuleOnDevice[]> {
  return await sql<RuleOnDevice[]>`
    SELECT user_id AS "userId", device_id AS "deviceId", rule_id AS "ruleId" FROM snoozes
    WHERE until <= now() ORDER BY until LIMIT ${limit}::int`;
}

/**
 * Ends a snooze whose time is over, and reminds of what it has kept quiet and is firing still. Once,
 * whoever else tries: the snooze is locked, and gone with the commit. One for each transaction, so
 * that it never waits for one alert while it holds another.
 *
 * @returns false where there is none to end, or somebody else is at it
 */
export async function endSnooze(sql: Sql, rule: RuleOnDevice): Promise<boolean> {
  const { userId, deviceId, ruleId } = rule;
  return await sql.begin(async (transactionSql) => {
    const tx = transactionSql as unknown as TransactionSql;
    await setLocalTimeouts(tx, OPERATION_TIMEOUT_MS);
    const of = tx`user_id = ${userId} AND device_id = ${deviceId} AND rule_id = ${ruleId}`;
    const [over] = await tx<{ until: Micros }[]>`
      SELECT until FROM snoozes WHERE ${of} AND until <= now() FOR UPDATE SKIP LOCKED`;
    if (over === undefined) return false;
    // What has fired since is known already.
    const [alert] = await tx<{ id: string }[]>`
      SELECT id FROM alerts a
      WHERE ${of} AND status = 'FIRING' AND (muted OR NOT EXISTS (
        SELECT FROM alert_events e
        WHERE e.alert_id = a.id AND e.type = 'FIRED' AND e.created_at > ${over.until}::timestamptz))
      ORDER BY started_at DESC LIMIT 1 FOR UPDATE`;
    await tx`DELETE FROM snoozes WHERE ${of}`;
    if (alert === undefined) return true;
    await tx`UPDATE alerts SET muted = false WHERE id = ${alert.id} AND muted`;
    const id = hash([alert.id, 'REMINDED', over.until]);
    await appendEvents(tx, [{ id, alertId: alert.id, type: 'REMINDED' }]);
    return true;
  });
}
