import { integerBetween, type Random } from '../../../src/loadtest/random.ts';
import type { Fault, Heal } from './fault.ts';

/** What became of one fault. */
export interface Outcome {
  number: number;
  name: string;
  /** From the heal to the canary being stored; null where it never was. */
  backAfterMs: number | null;
  error: string | null;
}

export interface ScheduleOptions {
  faults: readonly Fault[];
  count: number;
  /** The faults begin within this time; on a slow machine later. */
  windowMs: number;
  random: Random;
  stopped: AbortSignal;
  /** Resolves when a reading that was sent after the heal is stored. */
  canary(number: number): Promise<void>;
  onInjected(number: number, name: string): void;
  onOver(outcome: Outcome): void;
}

const MOST_AT_ONCE = 3;

/** Every kind comes up once before any comes up again, in an order of its own each time. */
export function drawKinds<T>(kinds: readonly T[], count: number, random: Random): T[] {
  const drawn: T[] = [];
  while (drawn.length < count) {
    const deck = [...kinds];
    while (deck.length > 0) {
      drawn.push(...deck.splice(integerBetween(random, 0, deck.length - 1), 1));
    }
  }
  return drawn.slice(0, count);
}

/** Injects the faults at drawn moments, some at the same time; resolves when all are over. */
export async function injectFaults(options: ScheduleOptions): Promise<Outcome[]> {
  const { faults, count, windowMs, random, stopped } = options;
  const kinds = drawKinds(faults, count, random);
  const moments = kinds.map(() => random() * windowMs).sort((a, b) => a - b);
  const holds = kinds.map(({ holdMs }) => integerBetween(random, ...holdMs));
  const startMs = performance.now();
  const outcomes: Outcome[] = [];
  const running = new Set<Promise<void>>();
  /** The last fault on each target. */
  const busy = new Map<string, Promise<void>>();

  for (const [index, fault] of kinds.entries()) {
    while (running.size >= MOST_AT_ONCE) await Promise.race(running);
    const wait = (moments[index] as number) - (performance.now() - startMs);
    if (wait > 0) await sleepUnless(stopped, wait);
    if (stopped.aborted) break;
    const before = fault.targets.map((target) => busy.get(target));
    const work = (async () => {
      await Promise.all(before);
      const number = index + 1;
      const error = await harm(fault, holds[index] as number, options, number);
      return { number, name: fault.name, error };
    })();
    const free = work.then(() => {});
    for (const target of fault.targets) busy.set(target, free);
    const task = work.then(async (done) => {
      const backAfterMs = await timed(() => options.canary(done.number));
      const outcome = { ...done, backAfterMs };
      outcomes.push(outcome);
      options.onOver(outcome);
    });
    const slot = task.then(() => void running.delete(slot));
    running.add(slot);
  }
  await Promise.all(running);
  return outcomes;
}

async function harm(
  fault: Fault,
  holdMs: number,
  { random, stopped, onInjected }: ScheduleOptions,
  number: number,
): Promise<string | null> {
  try {
    const heal: Heal = await fault.inject(random);
    onInjected(number, fault.name);
    await sleepUnless(stopped, holdMs);
    await heal();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function timed(work: () => Promise<void>): Promise<number | null> {
  const startMs = performance.now();
  return await work().then(
    () => performance.now() - startMs,
    () => null,
  );
}

export async function sleepUnless(stopped: AbortSignal, ms: number): Promise<void> {
  if (stopped.aborted) return;
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  stopped.addEventListener('abort', () => over.resolve(), { once: true });
  await over.promise;
  clearTimeout(timer);
}
