import type { Sql, TransactionSql } from './connection.ts';

/** Which dead letters to put back into the log; what is null does not choose. */
export interface ReplayChoice {
  /** Named ones are taken also where they were replayed before. */
  ids: readonly number[] | null;
  reason: string | null;
  topic: string | null;
}

export interface ReplayableDeadLetter {
  id: number;
  key: string | null;
  topic: string | null;
  reason: string;
  detail: string;
  payload: Uint8Array;
}

/** The newest id: what is stored later is no part of a replay that has begun. 0 for none. */
export async function newestDeadLetter(sql: Sql): Promise<number> {
  const [row] = await sql<{ id: number | null }[]>`SELECT max(id) AS id FROM dead_letters`;
  return row?.id ?? 0;
}

/**
 * The next ones in order of id, locked until the transaction ends; those that another replay has
 * locked are left to it. No more than `maxBytes` of payload, but at least one.
 */
export async function lockReplayable(
  tx: TransactionSql,
  choice: ReplayChoice,
  page: { after: number; upTo: number; limit: number; maxBytes: number },
): Promise<ReplayableDeadLetter[]> {
  const { ids, reason, topic } = choice;
  const sizes = await tx<{ id: number; bytes: number }[]>`
    SELECT id, octet_length(payload) AS bytes FROM dead_letters
    WHERE id > ${page.after} AND id <= ${page.upTo}
      ${ids === null ? tx`AND replayed_at IS NULL` : tx`AND id = ANY (${array(ids)}::bigint[])`}
      ${reason === null ? tx`` : tx`AND reason = ${reason}`}
      ${topic === null ? tx`` : tx`AND topic = ${topic}`}
    ORDER BY id LIMIT ${page.limit}::int FOR UPDATE SKIP LOCKED`;
  let bytes = 0;
  const taken = sizes.filter((row, index) => {
    bytes += row.bytes;
    return index === 0 || bytes <= page.maxBytes;
  });
  if (taken.length === 0) return [];
  return await tx<ReplayableDeadLetter[]>`
    SELECT id, log_key AS key, topic, reason, detail, payload FROM dead_letters
    WHERE id = ANY (${array(taken.map(({ id }) => id))}::bigint[]) ORDER BY id`;
}

export async function markReplayed(
  tx: TransactionSql,
  ids: readonly number[],
  actor: string,
): Promise<void> {
  await tx`
    UPDATE dead_letters SET replayed_at = now(), replayed_by = ${actor}
    WHERE id = ANY (${array(ids)}::bigint[])`;
}

function array(ids: readonly number[]): string {
  return `{${ids.join(',')}}`;
}
