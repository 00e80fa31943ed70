export type RewindKind =
  /** Another writer was here, or the answer to a COMMIT was lost: what is in memory is old. */
  | 'fence'
  /** The rules moved since the batch was evaluated. */
  | 'rules'
  /** The database refuses records, now noted in `refused`: they become dead letters. */
  | 'refused'
  /** It refuses what came of a record; of which one, a smaller batch tells. */
  | 'halve';

/**
 * The batch can't be written as it is: nothing of what is in memory will be, and reading starts
 * again from the watermark. The one way back, from wherever it shows.
 */
export class RewindError extends Error {
  constructor(
    readonly kind: RewindKind,
    detail: string,
  ) {
    super(detail);
  }
}
