import { type Api, inParallel } from './api.ts';
import { deleteRule, type RuleInput, setRules, upsertRule } from './rule-queries.ts';
import type { Scope } from './scope.ts';
import type { Signal } from './signals.ts';
import type { Simulation } from './simulation.ts';

/** The rules under which a run's devices are watched. */
export interface FleetRules {
  /** Gives the rule id of each signal. They are in force within a second. */
  set(): Promise<string[]>;
  /** Takes away what stands among somebody's own rules. */
  remove(): Promise<void>;
}

const QUERIES_AT_ONCE = 4;
const MESSAGE = '{key} is {value} on {device_id}';

/** The users are the run's own, or the one who owns everything: then it adds rules for a while. */
export function createFleetRules(options: {
  api: Api;
  simulation: Simulation;
  scope: Scope;
  users: readonly string[];
}): FleetRules {
  const { api, simulation, scope, users } = options;
  const { signals, owner } = simulation;
  if (owner === null) {
    return {
      set: () => setOwn(api, signals, [...users, scope.probe.userId]),
      remove: async () => {},
    };
  }
  const added: string[] = [];
  return {
    async set() {
      for (const [at, { key, operator, threshold }] of signals.entries()) {
        const ruleId = `${scope.run}-${at + 1}`;
        const rule = { ruleId, key, operator, threshold, message: MESSAGE };
        await upsertRule(api, owner, { ...rule, devices: `${scope.run}_*` });
        added.push(ruleId);
      }
      return added;
    },
    async remove() {
      for (const ruleId of added) await deleteRule(api, owner, ruleId).catch(() => {});
    },
  };
}

async function setOwn(
  api: Api,
  signals: readonly Signal[],
  users: readonly string[],
): Promise<string[]> {
  const rules = fleetRules(signals, MESSAGE);
  const shorthands = Object.fromEntries(
    signals.flatMap(({ shorthand, threshold }) => (shorthand ? [[shorthand, threshold]] : [])),
  );
  const sets = await inParallel(users, QUERIES_AT_ONCE, (userId) =>
    setRules(api, { userId, shorthands, rules }),
  );
  return signals.map(({ key, operator, ruleId }) => {
    const stored = sets[0]?.find((rule) => rule.key === key && rule.operator === operator);
    const id = ruleId ?? stored?.ruleId;
    if (id === undefined) throw new Error(`setRules took no rule "${key} ${operator}"`);
    return id;
  });
}

/** Of every user, beside those that are shorthands. */
export function fleetRules(signals: readonly Signal[], message: string): RuleInput[] {
  return signals
    .filter(({ shorthand }) => shorthand === undefined)
    .map(({ key, operator, threshold, ruleId }) => {
      return { ...(ruleId === null ? {} : { ruleId }), key, operator, threshold, message };
    });
}
