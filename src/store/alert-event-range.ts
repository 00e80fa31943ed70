import type { Sql } from './connection.ts';

/** Name of the row of publisher_positions that says up to which seq events were deleted. */
export const PRUNED_STREAM = 'alert_events.pruned';

/**
 * What can still be read of alert_events: every event with a seq above `floor` up to `newest` is
 * stored. Holes in seq are normal, so the floor is recorded by whoever deletes, not guessed from
 * the oldest row. Both are 0 where nothing was deleted or stored yet.
 */
export async function alertEventRange(sql: Sql): Promise<{ floor: number; newest: number }> {
  const [row] = await sql<{ floor: number | null; newest: number | null }[]>`
    SELECT (SELECT seq FROM publisher_positions WHERE stream = ${PRUNED_STREAM}) AS floor,
           (SELECT max(seq) FROM alert_events) AS newest`;
  const floor = row?.floor ?? 0;
  return { floor, newest: Math.max(floor, row?.newest ?? 0) };
}
