import type { RuleOnDevice } from '../domain/alert-operation.ts';
import type { Micros } from '../domain/time.ts';
import { hash } from '../domain/transitions.ts';
import { OPERATION_TIMEOUT_MS } from './acknowledge.ts';
import { appendEvents } from './append-alert-events.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { setLocalTimeouts } from './local-timeouts.ts';
import { lockNewestEpisode } from './lock-episode.ts';

/**
 * Ends a snooze before its time. Its event is one of the newest episode; where that is firing, MQTT
 * hears of it from now on, beginning with this event.
 *
 * @returns whether there was a snooze
 * @throws on a database outage, and where the snooze or the alert stays locked for 5 s
 */
export async function unsnooze(
  sql: Sql,
  { rule, actor }: { rule: RuleOnDevice; actor: string },
): Promise<boolean> {
  return await sql.begin(async (transactionSql) => {
    const tx = transactionSql as unknown as TransactionSql;
    await setLocalTimeouts(tx, OPERATION_TIMEOUT_MS);
    const { userId, deviceId, ruleId } = rule;
    const [row] = await tx<{ until: Micros; at: Micros }[]>`
      DELETE FROM snoozes
      WHERE user_id = ${userId} AND device_id = ${deviceId} AND rule_id = ${ruleId}
      RETURNING until, clock_timestamp() AS at`;
    if (row === undefined) return false;
    const episode = await lockNewestEpisode(tx, rule);
    if (episode === null) return true;
    const alertId = episode.id;
    await tx`UPDATE alerts SET muted = false WHERE id = ${alertId} AND status = 'FIRING' AND muted`;
    const id = hash([alertId, 'UNSNOOZED', row.at, row.until]);
    await appendEvents(tx, [{ id, alertId, type: 'UNSNOOZED', time: row.at, actor }]);
    return true;
  });
}
