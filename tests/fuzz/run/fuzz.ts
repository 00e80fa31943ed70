import type fc from 'fast-check';

export const DOORS = ['log', 'config', 'mqtt', 'http', 'graphql', 'ws'] as const;
export type DoorName = (typeof DOORS)[number];

/** One way to put inputs to one door. */
export interface Fuzz {
  name: string;
  door: DoorName;
  /** In this process on the real functions, or over a socket to the real process. */
  isSocket: boolean;
  /** Of all inputs, in parts. */
  share: number;
  /** Of fast-check; a run may hold many inputs, and tells how many it has put. */
  runsInBatch: number;
  /** Throws for a finding; fast-check makes its input smaller. */
  property(count: (inputs: number) => void): fc.IRawProperty<unknown, boolean>;
  /** Between batches: what must still work, besides the stage's own probe. */
  probe?(): Promise<void>;
}

/** Rejects when a door takes longer to answer than anything here may take. */
export async function within<T>(what: string, work: Promise<T>, deadlineMs = 60_000): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`no answer within ${deadlineMs} ms: ${what}`);
    timer = setTimeout(() => reject(error), deadlineMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
