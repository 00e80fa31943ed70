import type { RuleOnDevice } from '../domain/alert-operation.ts';
import type { Micros } from '../domain/time.ts';
import { hash } from '../domain/transitions.ts';
import { appendEvents } from './append-alert-events.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { setLocalTimeouts } from './local-timeouts.ts';
import { lockEpisode, lockNewestEpisode } from './lock-episode.ts';

/** Waits of an operation on an alert; lanes hold an alert for milliseconds. */
export const OPERATION_TIMEOUT_MS = 5_000;

/**
 * Acknowledges an episode, by its id or the newest of a rule on a device. Whoever was first stays:
 * a second time changes nothing.
 *
 * @returns whether there is such an episode
 * @throws on a database outage, and where the alert stays locked for 5 s
 */
export async function acknowledge(
  sql: Sql,
  { alert, actor }: { alert: string | RuleOnDevice; actor: string },
): Promise<boolean> {
  return await sql.begin(async (transactionSql) => {
    const tx = transactionSql as unknown as TransactionSql;
    await setLocalTimeouts(tx, OPERATION_TIMEOUT_MS);
    const episode =
      typeof alert === 'string' ? await lockEpisode(tx, alert) : await lockNewestEpisode(tx, alert);
    if (episode === null) return false;
    if (episode.acknowledgedAt !== null) return true;
    const [row] = await tx<{ at: Micros }[]>`
      UPDATE alerts SET acknowledged_at = clock_timestamp(), acknowledged_by = ${actor}
      WHERE id = ${episode.id} RETURNING acknowledged_at AS at`;
    const id = hash([episode.id, 'ACKNOWLEDGED']);
    const event = { id, alertId: episode.id, type: 'ACKNOWLEDGED', time: row?.at, actor } as const;
    await appendEvents(tx, [event]);
    return true;
  });
}
