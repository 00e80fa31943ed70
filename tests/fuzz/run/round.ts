import fc from 'fast-check';
import { createRandom, integerBetween } from '../../../src/loadtest/random.ts';
import { shown } from './bytes.ts';
import type { Fuzz } from './fuzz.ts';
import type { FuzzStage } from './stage.ts';

export interface Finding {
  door: string;
  name: string;
  batch: number;
  what: string;
  /** As small as it could be made; null where it can't be said which of the batch it was. */
  input: string | null;
}

export interface DoorResult {
  door: string;
  name: string;
  isSocket: boolean;
  inputs: number;
  seconds: number;
  findings: Finding[];
}

/** Time to make one finding's input smaller. */
const SHRINK_MS = 60_000;
/** A door that has as many is left. */
const MAX_FINDINGS = 5;

/**
 * Puts inputs to one door until it has had enough, in batches. A batch's inputs depend on the seed,
 * the door's name and the batch's number alone.
 */
export async function runFuzz(
  fuzz: Fuzz,
  options: { seed: number; inputs: number; batch: number | null },
  around: { stage: FuzzStage | null; stopped: AbortSignal; onInputs: (inputs: number) => void },
): Promise<DoorResult> {
  const { stage, stopped, onInputs } = around;
  const { name, door, isSocket } = fuzz;
  const startMs = performance.now();
  const findings: Finding[] = [];
  let inputs = 0;
  const before = isSocket ? await stage?.belongings() : undefined;
  for (let batch = options.batch ?? 0; ; batch++) {
    const find = (what: string, input: string | null = null) =>
      findings.push({ door, name, batch, what, input });
    const failed = await runBatch(fuzz, {
      seed: integerBetween(createRandom(options.seed, name, batch), 0, 2 ** 31 - 1),
      isEnough: () => stopped.aborted || (options.batch === null && inputs >= options.inputs),
      count(more) {
        inputs += more;
        onInputs(more);
      },
    });
    if (failed !== null) find(failed.what, failed.input);
    if (isSocket && stage !== null) {
      try {
        await fuzz.probe?.();
        await stage.probe();
      } catch (error) {
        find(`the probe after it: ${messageOf(error)}`);
      }
      for (const complaint of stage.complaints()) find(complaint.slice(0, 2_000));
    }
    const isOver = options.batch !== null || inputs >= options.inputs || stopped.aborted;
    if (isOver || findings.length >= MAX_FINDINGS) {
      if (before !== undefined && before !== (await stage?.belongings())) {
        find(`what is another user's was changed: ${before} is ${await stage?.belongings()}`);
      }
      const seconds = (performance.now() - startMs) / 1_000;
      return { door, name, isSocket, inputs, seconds, findings };
    }
  }
}

interface Batch {
  seed: number;
  isEnough: () => boolean;
  count: (inputs: number) => void;
}

async function runBatch(
  fuzz: Fuzz,
  { seed, isEnough, count }: Batch,
): Promise<{ what: string; input: string } | null> {
  let isShrinking = false;
  const property = fuzz.property((inputs) => {
    if (!isShrinking) count(inputs);
  });
  const run = property.run.bind(property);
  property.run = (value) => {
    if (isEnough() && !isShrinking) return null;
    const result = run(value);
    const note = (failure: unknown) => {
      isShrinking ||= failure !== null;
      return failure as null;
    };
    return result instanceof Promise ? result.then(note) : note(result);
  };
  const details = await fc.check(property, {
    seed,
    numRuns: fuzz.runsInBatch,
    interruptAfterTimeLimit: SHRINK_MS + 600_000,
  });
  if (!details.failed || details.counterexample === null) return null;
  const what = messageOf(details.errorInstance);
  return { what, input: shown(details.counterexample) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message).slice(0, 3_000) : String(error);
}
