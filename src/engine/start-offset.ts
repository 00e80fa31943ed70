import type { Watermark } from '../store/watermark.ts';

export interface StartOffset {
  /** The first offset to read. */
  start: number;
  /** Records between the watermark and `start` that the log no longer has. */
  gap: number;
  /** The log ends at or below the watermark: it is a new one under the old name. */
  newLog: boolean;
}

/**
 * Where a lane starts: at the lower of the group's committed offset and watermark + 1, so that a
 * reset group replays, and a group that ran ahead of the database loses nothing.
 *
 * @param committed the group's next offset, null when it has none
 */
export function startOffset(
  watermark: Watermark,
  committed: number | null,
  range: { earliest: number; end: number },
): StartOffset {
  const newLog = watermark.offset >= 0 && range.end <= watermark.offset;
  if (newLog) return { start: range.earliest, gap: 0, newLog };
  const next = watermark.offset + 1;
  const wanted = committed === null ? next : Math.min(committed, next);
  const start = Math.max(wanted, range.earliest);
  // Before the first watermark nothing was promised yet, so nothing can be missing.
  return { start, gap: watermark.offset >= 0 ? Math.max(0, start - next) : 0, newLog };
}
