import type { Random } from '../../../src/loadtest/random.ts';

/** Undoes a fault; the stack may still need a while to be itself again. */
export type Heal = () => Promise<unknown>;

/** A kind of harm that can be done to a stack again and again. */
export interface Fault {
  readonly name: string;
  /** What it holds while it lasts: two faults on the same target come one after the other. */
  readonly targets: readonly string[];
  /** How long it lasts, drawn between the two. */
  readonly holdMs: readonly [number, number];
  /** Resolves when the harm is done. */
  inject(random: Random): Promise<Heal>;
}

/** Where nothing is left to undo. */
export const healed: Heal = async () => {};

const STALLS = 12;

/**
 * As on a machine that has too much to do: the process is not run for some tenths of a second, so
 * what its peers do meanwhile comes all at once, and its timers are due before it.
 */
export async function stall(pid: number, random: Random): Promise<void> {
  // Drawn at once: a seed repeats them, whatever else is drawn meanwhile.
  const stalls = Array.from({ length: STALLS }, () => [150 + 500 * random(), 60 * random()]);
  for (const [stillMs = 0, runsMs = 0] of stalls) {
    process.kill(pid, 'SIGSTOP');
    await Bun.sleep(stillMs);
    process.kill(pid, 'SIGCONT');
    await Bun.sleep(runsMs);
  }
}

const REVIVE_WITHIN_MS = 180_000;
const PAUSE_MS = 500;

/** Starts a process until it stays up, as a supervisor does: another fault may be in its way. */
export async function revive(process: {
  restart(): Promise<void>;
  kill(): Promise<void>;
}): Promise<void> {
  const deadline = performance.now() + REVIVE_WITHIN_MS;
  for (;;) {
    try {
      return await process.restart();
    } catch (error) {
      await process.kill();
      if (performance.now() > deadline) throw error;
    }
    await Bun.sleep(PAUSE_MS);
  }
}

/** Tries until it works: what it needs may be away because of another fault. */
export async function patiently<T>(work: () => Promise<T>, withinMs = 60_000): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await Bun.sleep(PAUSE_MS);
  }
}
