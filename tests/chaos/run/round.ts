import type { LoadResult } from '../../../src/loadtest/judge.ts';
import { type Begun, runLoad } from '../../../src/loadtest/load.ts';
import type { Progress } from '../../../src/loadtest/progress.ts';
import { createRandom } from '../../../src/loadtest/random.ts';
import type { DoorVerdict } from '../../../src/loadtest/verdict.ts';
import { model } from '../../../src/model.ts';
import type { Fault } from './fault.ts';
import { messageFaults } from './faults/messages.ts';
import { ruleFaults } from './faults/rules.ts';
import { subscriberFaults } from './faults/subscribers.ts';
import { createMix, type MixVerdict } from './mix.ts';
import { injectFaults, type Outcome, sleepUnless } from './schedule.ts';
import { createSlowSubscriber } from './slow-subscriber.ts';
import type { Stage } from './stage.ts';

export interface RoundOptions {
  seed: number;
  minutes: number;
  faults: number;
  rate: number;
  users: number;
  devicesPerUser: number;
}

export interface RoundResult {
  load: LoadResult;
  mix: MixVerdict;
  slow: { webSocket: DoorVerdict; mqtt: DoorVerdict };
  outcomes: Outcome[];
}

export interface RoundContext {
  progress: Progress;
  stopped: AbortSignal;
  say(text: string): void;
}

/** Publishes go on until the last fault is over; the ledgers must have room for that. */
const LONGEST = 6;
const SETTLE_SECONDS = 240;
const PATIENCE_SECONDS = 900;

/**
 * The load test's fleet on a stack that is harmed meanwhile, and what became of all.
 *
 * @param options.only instead of all kinds that there are
 */
export async function runRound(
  stage: Stage,
  options: RoundOptions & { only?: Fault; settleSeconds?: number },
  { progress, stopped, say }: RoundContext,
): Promise<RoundResult> {
  const random = createRandom(options.seed, stage.name, options.only?.name ?? 'chaos');
  const windowMs = options.minutes * 60_000;
  const over = new AbortController();
  const endLoad = () => over.abort();
  stopped.addEventListener('abort', endLoad);
  const closers: (() => Promise<unknown>)[] = [];
  let harming: Promise<Outcome[]> = Promise.resolve([]);
  const made: { parts?: Awaited<ReturnType<typeof begin>> } = {};

  async function begin(begun: Begun) {
    const mix = await createMix({ ...begun, mqttUrl: stage.mqttUrl });
    closers.push(() => mix.close());
    const slow = await createSlowSubscriber(stage, begun);
    closers.push(() => slow.close());
    const { scope, devices } = begun;
    const userIds = [...new Set(devices.map(({ userId }) => userId))];
    const faults = options.only
      ? [options.only]
      : [
          ...stage.faults,
          ...messageFaults(mix),
          ...subscriberFaults(slow),
          ...ruleFaults({ url: stage.url, run: scope.run, userIds }),
        ];
    let started = performance.now();
    const seconds = () => `${((performance.now() - started) / 1000).toFixed(1)} s`;
    harming = mix.warm(stopped).then(() => {
      started = performance.now();
      return injectFaults({
        faults,
        count: options.faults,
        windowMs,
        random,
        stopped,
        canary: mix.canary,
        onInjected: (number, name) => say(`${seconds()}  fault ${number}: ${name}`),
        onOver: (outcome) => say(`${seconds()}  fault ${outcome.number} ${inWords(outcome)}`),
      });
    });
    void Promise.all([harming, sleepUnless(stopped, windowMs)]).finally(endLoad);
    return { mix, slow };
  }

  try {
    const load = await runLoad(
      {
        model,
        url: stage.url,
        mqttUrl: stage.mqttUrl,
        protocolVersion: 4,
        json: false,
        window: 2_000,
        settleSeconds: options.settleSeconds ?? SETTLE_SECONDS,
        patienceSeconds: PATIENCE_SECONDS,
        users: options.users,
        devicesPerUser: options.devicesPerUser,
        rate: options.rate,
        durationSeconds: options.minutes * 60 * LONGEST + PATIENCE_SECONDS,
        seed: options.seed,
        meanCalm: 30,
      },
      {
        progress,
        stopped: over.signal,
        async onBegun(begun) {
          made.parts = await begin(begun);
          return [...made.parts.mix.checks(), ...made.parts.slow.checks()];
        },
      },
    );
    const { mix, slow } = made.parts as NonNullable<typeof made.parts>;
    return {
      load,
      mix: await mix.judge(load.readings.foreign),
      slow: slow.verdicts(),
      outcomes: await harming,
    };
  } finally {
    stopped.removeEventListener('abort', endLoad);
    over.abort();
    await harming;
    for (const close of closers.reverse()) await close();
  }
}

function inWords({ name, backAfterMs, error }: Outcome): string {
  if (error !== null) return `(${name}) FAILED: ${error}`;
  if (backAfterMs === null) return `(${name}) FAILED: no reading was stored any more`;
  return `(${name}): a reading is stored ${(backAfterMs / 1000).toFixed(1)} s after it`;
}
