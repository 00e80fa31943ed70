import { SQLiteError } from 'bun:sqlite';
import { metaOf, openDatabase } from './embedded-log-schema.ts';

/** `earliest`: first offset kept; `end`: the offset that the next record gets. */
export interface Bounds {
  earliest: number;
  end: number;
}

/** Messages in columns, their values end to end in one buffer, which crosses threads uncopied. */
export interface Batch {
  nowMs: number;
  partitions: number[];
  topics: string[];
  keys: (string | null)[];
  values: Uint8Array;
  /** Where each value ends in `values`. */
  valueEnds: number[];
  /** Of those that are followed, by their place in the batch; nearly always empty. */
  traceparents: ReadonlyMap<number, string>;
}

/** One group's position in one partition: `next` is the next offset to read. */
export interface Position {
  groupId: string;
  partition: number;
  next: number;
}

export interface DropRequest {
  /** Per partition: only offsets below it may go. */
  floors: number[];
  /** Records that arrived before it go, epoch ms. */
  beforeMs: number;
  /** Then the oldest go, until no more bytes than this are used. */
  targetBytes: number;
  /** Stops about then; call again while `more`. */
  budgetMs: number;
}

export interface LogFileState {
  bounds: Bounds[];
  /** Pages in use, without SQLite's free list; the write-ahead log (some MiB) is not in it. */
  usedBytes: number;
}

export interface LogFile {
  readonly logId: string;
  state(): LogFileState;
  positions(): Position[];
  /** One transaction, synced to disk. On an error nothing of it is kept, and the file stays usable. */
  append(batch: Batch, positions: Position[]): void;
  save(positions: Position[]): void;
  drop(request: DropRequest, positions: Position[]): { dropped: number; more: boolean };
  close(): void;
}

const ROWS_PER_STEP = 100;

interface PartitionRow {
  earliest: number;
  next: number;
  lastArrivalMs: number;
}

/**
 * The log's SQLite file, seen by its one writer. Every call blocks until the disk has answered,
 * hence the thread of its own in embedded-log-worker.ts.
 *
 * @throws StartError when the file is not a log, is damaged, or belongs to another topic or version
 */
export function openLogFile(options: {
  file: string;
  topic: string;
  /** A file that has more keeps them: a partition with records can't go away. */
  partitions: number;
}): LogFile {
  const { file } = options;
  const db = openDatabase(options);
  const owner = crypto.randomUUID();
  db.run("INSERT OR REPLACE INTO meta VALUES ('owner', ?)", [owner]);
  const readOwner = db.query<{ value: string }, []>("SELECT value FROM meta WHERE name = 'owner'");
  const advance = db.query(
    'UPDATE partitions SET earliest = ?, next = ?, last_arrival_ms = ? WHERE partition = ?',
  );
  const savePosition = db.query(
    'INSERT INTO commits VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = max(next, excluded.next)',
  );
  const pages = db.query<{ bytes: number }, []>(
    `SELECT (page_count - freelist_count) * page_size AS bytes
     FROM pragma_page_count, pragma_freelist_count, pragma_page_size`,
  );
  const usedBytes = () => pages.get()?.bytes ?? 0;
  let rows = db
    .query<PartitionRow, []>(
      'SELECT earliest, next, last_arrival_ms AS lastArrivalMs FROM partitions ORDER BY partition',
    )
    .all();

  const tables = rows.map((_, partition) => ({
    insert: db.query(
      `INSERT INTO records_${partition} (offset, arrival_ms, topic, key, value)
       VALUES (?, ?, ?, ?, ?)`,
    ),
    follow: db.query(`UPDATE records_${partition} SET traceparent = ? WHERE offset = ?`),
    arrivalAt: db.query<{ ms: number }, [number]>(
      `SELECT arrival_ms AS ms FROM records_${partition} WHERE offset = ?`,
    ),
    remove: db.query(
      `DELETE FROM records_${partition} WHERE offset >= ? AND offset < ? AND arrival_ms < ?`,
    ),
  }));

  /** Runs `change` on a copy of the partition rows, which is taken over when it has committed. */
  function transact<T>(positions: Position[], change: (draft: PartitionRow[]) => T): T {
    const draft = rows.map((row) => ({ ...row }));
    const result = db
      .transaction(() => {
        // A second process that opened this file has counted on from our offsets.
        if (readOwner.get()?.value !== owner) {
          throw new Error(`another process has opened ${file}: stop one of them`);
        }
        const value = change(draft);
        draft.forEach((row, partition) => {
          const was = rows[partition];
          if (was?.next === row.next && was.earliest === row.earliest) return;
          advance.run(row.earliest, row.next, row.lastArrivalMs, partition);
        });
        for (const { groupId, partition, next } of positions) {
          savePosition.run(groupId, partition, next);
        }
        return value;
      })
      .immediate();
    rows = draft;
    return result;
  }

  /** Deletes one step's rows from whichever partition has the oldest head; 0: nothing may go. */
  function dropStep(draft: PartitionRow[], request: DropRequest): number {
    let oldest = -1;
    let oldestMs = Number.POSITIVE_INFINITY;
    draft.forEach((row, partition) => {
      if (row.earliest >= Math.min(request.floors[partition] ?? 0, row.next)) return;
      const ms = tables[partition]?.arrivalAt.get(row.earliest)?.ms ?? 0;
      if (ms < oldestMs) [oldest, oldestMs] = [partition, ms];
    });
    const row = draft[oldest];
    const table = tables[oldest];
    if (!row || !table) return 0;
    const expired = oldestMs < request.beforeMs;
    if (!expired && usedBytes() <= request.targetBytes) return 0;
    const until = Math.min(request.floors[oldest] ?? 0, row.next, row.earliest + ROWS_PER_STEP);
    const arrivedBefore = expired ? request.beforeMs : Number.MAX_SAFE_INTEGER;
    // Arrival never goes back within a partition, so what goes is a prefix.
    const { changes } = table.remove.run(row.earliest, until, arrivedBefore);
    row.earliest += changes;
    return changes;
  }

  return {
    logId: metaOf(db, 'log_id') ?? '',
    state: () => ({
      bounds: rows.map(({ earliest, next }) => ({ earliest, end: next })),
      usedBytes: usedBytes(),
    }),
    positions: () =>
      db.query<Position, []>('SELECT group_id AS groupId, partition, next FROM commits').all(),
    append(batch, positions) {
      transact(positions, (draft) => {
        let start = 0;
        const isFollowed = batch.traceparents.size > 0;
        for (let i = 0; i < batch.partitions.length; i++) {
          const partition = batch.partitions[i] as number;
          const row = draft[partition] as PartitionRow;
          const end = batch.valueEnds[i] as number;
          row.lastArrivalMs = Math.max(batch.nowMs, row.lastArrivalMs);
          const value = batch.values.subarray(start, end);
          const { topics, keys } = batch;
          const [topic, key] = [topics[i] as string, keys[i] ?? null];
          const offset = row.next++;
          tables[partition]?.insert.run(offset, row.lastArrivalMs, topic, key, value);
          const traceparent = isFollowed ? batch.traceparents.get(i) : undefined;
          if (traceparent) tables[partition]?.follow.run(traceparent, offset);
          start = end;
        }
      });
    },
    save: (positions) => transact(positions, () => {}),
    drop(request, positions) {
      const started = performance.now();
      return transact(positions, (draft) => {
        let dropped = 0;
        while (performance.now() - started < request.budgetMs) {
          const count = dropStep(draft, request);
          if (count === 0) return { dropped, more: false };
          dropped += count;
        }
        return { dropped, more: true };
      });
    },
    close() {
      // Without its WAL the file is whole, and can be copied.
      db.query('PRAGMA wal_checkpoint(TRUNCATE)').all();
      db.close();
    },
  };
}

/** The one-line cause of a failed write. */
export function describeWriteError(error: unknown, file: string): string {
  if (error instanceof SQLiteError && error.code === 'SQLITE_FULL') {
    return `the disk of ${file} is full: free some space`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${file} can't be written (${message}): look at its disk`;
}
