import {
  type LogRecord,
  type PartitionReader,
  PositionLost,
  type Source,
} from '../../../src/domain/log.ts';

/** Reads all partitions of a source as lanes do, and commits what it has read. */
export interface Follower {
  /** By `partition/offset`: read once or more. */
  seen: Map<string, LogRecord>;
  /** Partitions read at this moment. */
  readers: Map<number, PartitionReader>;
  /** How often a position was lost, and why. */
  lost: string[];
  /** When the last record came: milliseconds, monotonic. */
  lastMs(): number;
  values(): string[];
}

export async function follow(source: Source): Promise<Follower> {
  const seen = new Map<string, LogRecord>();
  const readers = new Map<number, PartitionReader>();
  const lost: string[] = [];
  let lastMs = 0;

  async function run(reader: PartitionReader): Promise<void> {
    let position: number | null = null;
    while (!reader.signal.aborted) {
      try {
        const { earliest, end } = await reader.range();
        position ??= (await reader.committed()) ?? earliest;
        // As a lane does with its watermark: below the start or past the end there is nothing.
        if (position < earliest || position > end) position = earliest;
        reader.seek(position);
        while (!reader.signal.aborted) {
          const records = await reader.read(500, 250);
          for (const record of records) seen.set(`${reader.partition}/${record.offset}`, record);
          const last = records.at(-1);
          if (last === undefined) continue;
          lastMs = performance.now();
          position = last.offset + 1;
          await reader.commit(position).catch(() => {});
        }
      } catch (error) {
        lost.push((error as Error).message);
        if (!(error instanceof PositionLost)) await Bun.sleep(100);
      }
    }
    if (readers.get(reader.partition) === reader) readers.delete(reader.partition);
  }

  await source.start((reader) => {
    readers.set(reader.partition, reader);
    void run(reader);
  });
  return {
    seen,
    readers,
    lost,
    lastMs: () => lastMs,
    values: () => [...seen.values()].map(({ value }) => Buffer.from(value).toString()),
  };
}
