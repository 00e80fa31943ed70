import type { Sql } from './connection.ts';

/** `alerts` counts alert_events.seq, `configs` rule_changes.seq. */
export type PublishedStream = 'alerts' | 'configs';

/** Up to which seq a stream was published; 0 before its first message. */
export async function publisherPosition(sql: Sql, stream: PublishedStream): Promise<number> {
  const [row] = await sql<{ seq: number }[]>`
    SELECT seq FROM publisher_positions WHERE stream = ${stream}`;
  return row?.seq ?? 0;
}

/** Moves a stream's position. Never backwards, whoever was slower. */
export async function movePublisherPosition(
  sql: Sql,
  { stream, to }: { stream: PublishedStream; to: number },
): Promise<void> {
  await sql`
    INSERT INTO publisher_positions (stream, seq) VALUES (${stream}, ${to}::bigint)
    ON CONFLICT (stream) DO UPDATE
      SET seq = greatest(publisher_positions.seq, EXCLUDED.seq), updated_at = now()`;
}

/**
 * Marks the transitions with from < seq <= to as published and moves the position, in one
 * statement: a primary key range, so its cost is that of its rows.
 */
export async function markAlertsPublished(
  sql: Sql,
  { from, to }: { from: number; to: number },
): Promise<void> {
  await sql.unsafe(
    `WITH published AS (
       UPDATE alert_events SET published_at = clock_timestamp()
       WHERE seq > ${from} AND seq <= ${to} AND published_at IS NULL
     )
     INSERT INTO publisher_positions (stream, seq) VALUES ('alerts', ${to})
     ON CONFLICT (stream) DO UPDATE
       SET seq = greatest(publisher_positions.seq, EXCLUDED.seq), updated_at = now()`,
  );
}
