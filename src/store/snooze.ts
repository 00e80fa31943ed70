import type { RuleOnDevice } from '../domain/alert-operation.ts';
import { type Duration, fixedMicros } from '../domain/duration.ts';
import { MICROS_PER_SECOND, type Micros } from '../domain/time.ts';
import { hash } from '../domain/transitions.ts';
import { OPERATION_TIMEOUT_MS } from './acknowledge.ts';
import { appendEvents } from './append-alert-events.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { setLocalTimeouts } from './local-timeouts.ts';
import { lockNewestEpisode } from './lock-episode.ts';

/** Ends that differ by less are the same; or by less than a tenth of a shorter snooze. */
const SAME_SECONDS = 60;

/**
 * Snoozes a rule on a device from now on, in the place of the snooze that it has. One that would end
 * at about the same time changes nothing: a message that MQTT brings twice neither extends a snooze
 * nor makes another event. The event is one of the newest episode; there is none without.
 *
 * @throws on a database outage, and where the snooze or the alert stays locked for 5 s
 */
export async function snooze(
  sql: Sql,
  { rule, duration, actor }: { rule: RuleOnDevice; duration: Duration; actor: string },
): Promise<void> {
  const { userId, deviceId, ruleId } = rule;
  const { months, days, micros } = duration;
  const fixed = fixedMicros({ months: 0, days, micros }) as Micros;
  const same = months > 0 ? SAME_SECONDS : Math.min(SAME_SECONDS, fixed / MICROS_PER_SECOND / 10);
  await sql.begin(async (transactionSql) => {
    const tx = transactionSql as unknown as TransactionSql;
    await setLocalTimeouts(tx, OPERATION_TIMEOUT_MS);
    const [row] = await tx<{ until: Micros; created_at: Micros }[]>`
      INSERT INTO snoozes AS s (user_id, device_id, rule_id, until, actor, created_at)
      SELECT ${userId}, ${deviceId}, ${ruleId},
        at + make_interval(months => ${months}::int) + ${fixed}::bigint * interval '1 microsecond',
        ${actor}, at
      FROM (SELECT clock_timestamp() AS at) AS present
      ON CONFLICT (user_id, device_id, rule_id) DO UPDATE
        SET until = excluded.until, actor = excluded.actor, created_at = excluded.created_at
        WHERE abs(extract(epoch FROM excluded.until - s.until)) >= ${same}::float8
      RETURNING until, created_at`;
    if (row === undefined) return;
    const episode = await lockNewestEpisode(tx, rule);
    if (episode === null) return;
    const alertId = episode.id;
    const { until: snoozedUntil, created_at: time } = row;
    const id = hash([alertId, 'SNOOZED', time, snoozedUntil]);
    await appendEvents(tx, [{ id, alertId, type: 'SNOOZED', time, actor, snoozedUntil }]);
  });
}
