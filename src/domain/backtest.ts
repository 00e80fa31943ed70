import { NO_MEMORY, type RuleMemory, type Transition } from './alert.ts';
import type { Model } from './model.ts';
import type { Reading } from './reading.ts';
import { evaluate, silence } from './reducer.ts';
import type { RuleSet, Scalar } from './rule.ts';
import { toRuleSet } from './rule-content.ts';
import type { RuleDraft } from './rule-fields.ts';
import type { Micros } from './time.ts';

/** An episode that a rule would have had. Times are event times. */
export interface BacktestEpisode {
  deviceId: string;
  startedAt: Micros;
  /** Since when it held as it fired, or since when nothing had come. */
  holdingSince: Micros;
  /** Null where it still fires at the end. */
  resolvedAt: Micros | null;
  /** The last reading that found it holding; of silence the start. */
  lastSeenAt: Micros;
  /** Of the reading that made it fire; null for silence. */
  value: Scalar | null;
  message: string;
}

/** The rules of a user who has this one alone, and has it enabled. */
export function onlyRule(draft: RuleDraft, userId: string, model: Model): RuleSet {
  const rule = { ...draft, id: draft.id ?? 'backtest', enabled: true };
  const content = { shorthands: {}, rules: [rule] };
  // The version of a memory that is empty: there is nothing to bring in line.
  return toRuleSet({ userId, version: NO_MEMORY.version, content, model });
}

/** One device under one rule, from an empty memory. */
export interface DeviceRun {
  /** In event-time order. */
  take(reading: Reading): void;
  /** Gives the episode that is still open; `at` is not before the last reading. */
  end(at: Micros): void;
}

/**
 * Runs the reducer that runs live. What it can't have is when a reading arrived, which is not
 * stored: silence is judged as if each had arrived at its own time.
 *
 * @param device.quietSince since when the device's silence counts; null from its first reading
 * @param onEpisode called with each episode when it is over, or at the end
 */
export function createDeviceRun(
  ruleSet: RuleSet,
  device: { userId: string; deviceId: string; quietSince: Micros | null },
  onEpisode: (episode: BacktestEpisode) => void,
): DeviceRun {
  const { userId, deviceId } = device;
  let memory: RuleMemory = NO_MEMORY;
  let lastArrivalAt = device.quietSince;
  let open: BacktestEpisode | null = null;

  function follow(transitions: readonly Transition[]): void {
    for (const one of transitions) {
      if (one.type === 'FIRED') {
        const { time, holdingSince, value, message } = one;
        const times = { startedAt: time, holdingSince, resolvedAt: null, lastSeenAt: time };
        open = { deviceId, ...times, value, message };
      } else if (open !== null) {
        onEpisode({ ...open, resolvedAt: one.time });
        open = null;
      }
    }
  }

  function beSilentUntil(at: Micros): void {
    if (ruleSet.silences.length === 0 || lastArrivalAt === null) return;
    const clock = { at, flowingSince: lastArrivalAt, partition: 0, offset: 0 };
    const result = silence(memory, { userId, deviceId, lastArrivalAt }, ruleSet, clock);
    memory = result.memory;
    follow(result.transitions);
  }

  return {
    take(reading) {
      const { time } = reading;
      beSilentUntil(time);
      lastArrivalAt = time;
      const evidence = { partition: 0, offset: 0, arrival: time };
      const result = evaluate(memory, reading, ruleSet, evidence);
      memory = result.memory;
      if (result.held.length > 0 && open !== null) open.lastSeenAt = time;
      follow(result.transitions);
    },
    end(at) {
      beSilentUntil(at);
      if (open !== null) onEpisode(open);
      open = null;
    },
  };
}
