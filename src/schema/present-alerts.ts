import DataLoader from 'dataloader';
import type { AlertEvent } from '../domain/alert.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { alertsById } from '../store/alerts-by-id.ts';
import type { Sql } from '../store/connection.ts';
import { createRecent } from './recent.ts';

/**
 * The alert of an event as it is now, for all subscribers at once: what they ask for within one
 * turn is read in one statement, and shared for a moment. Null where retention has taken it.
 */
export type PresentAlerts = Pick<DataLoader<AlertEvent, AlertRow | null>, 'load'>;

const SHARED_MS = 500;
const MAX_BATCH = 1_000;

export function createPresentAlerts(sql: Sql): PresentAlerts {
  const load = async (events: readonly AlertEvent[]): Promise<(AlertRow | null)[]> => {
    const rows = await alertsById(sql, [...new Set(events.map((event) => event.alertId))]);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return events.map((event) => byId.get(event.alertId) ?? null);
  };
  return new DataLoader<AlertEvent, AlertRow | null, number>(load, {
    // By event, not by alert: what was read before the event may not know of it yet.
    cacheKeyFn: (event) => event.seq,
    cacheMap: createRecent<number, Promise<AlertRow | null>>(SHARED_MS),
    batchScheduleFn: setImmediate,
    maxBatchSize: MAX_BATCH,
  });
}
