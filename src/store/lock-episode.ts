import type { RuleOnDevice } from '../domain/alert-operation.ts';
import type { Micros } from '../domain/time.ts';
import type { TransactionSql } from './connection.ts';

export interface LockedEpisode {
  id: string;
  acknowledgedAt: Micros | null;
}

/** Locks an episode: behind the snooze of its rule, where that is locked too, and before `seq`. */
export async function lockEpisode(tx: TransactionSql, id: string): Promise<LockedEpisode | null> {
  const [row] = await tx<LockedEpisode[]>`
    SELECT id, acknowledged_at AS "acknowledgedAt" FROM alerts WHERE id = ${id} FOR UPDATE`;
  return row ?? null;
}

/** As `lockEpisode`: the one that fires, else the newest. Null where there never was one. */
export async function lockNewestEpisode(
  tx: TransactionSql,
  { userId, deviceId, ruleId }: RuleOnDevice,
): Promise<LockedEpisode | null> {
  const [row] = await tx<{ id: string }[]>`
    WITH mine AS NOT MATERIALIZED (
      SELECT id, status, started_at FROM alerts
      WHERE user_id = ${userId} AND device_id = ${deviceId} AND rule_id = ${ruleId})
    SELECT coalesce(
      (SELECT id FROM mine WHERE status = 'FIRING' ORDER BY started_at DESC LIMIT 1),
      (SELECT id FROM mine ORDER BY started_at DESC, id LIMIT 1)) AS id`;
  return row?.id == null ? null : await lockEpisode(tx, row.id);
}
