import { createApi } from '../../../../src/loadtest/api.ts';
import { fleetRules } from '../../../../src/loadtest/fleet-rules.ts';
import { integerBetween } from '../../../../src/loadtest/random.ts';
import { type RuleInput, setRules } from '../../../../src/loadtest/rule-queries.ts';
import { SIGNALS } from '../../../../src/loadtest/signals.ts';
import { type Fault, patiently } from '../fault.ts';

const NEVER: RuleInput = {
  ruleId: 'never',
  key: 'temperature',
  operator: '>',
  threshold: 1e12,
  message: 'never',
};

/**
 * Edits under which the oracle's alerts stay what they are: another text, a rule beside that never
 * fires (there and gone again), and a user without devices. All make a new version.
 */
export function ruleFaults(options: {
  url: string;
  run: string;
  userIds: readonly string[];
}): Fault[] {
  const { run, userIds } = options;
  const api = createApi(options);
  let edits = 0;
  return [
    {
      name: 'rules edited',
      targets: ['rules'],
      holdMs: [0, 500],
      async inject(random) {
        const edit = ++edits;
        const user = userIds[integerBetween(random, 0, userIds.length - 1)] as string;
        const rules = fleetRules(SIGNALS, `{key} is {value} on {device_id}, edit ${edit}`);
        const other = `${run}other`;
        await patiently(() => setRules(api, { userId: user, rules: [...rules, NEVER] }));
        await patiently(() =>
          setRules(api, { userId: other, shorthands: { temperatureMax: edit }, rules: [] }),
        );
        return async () => patiently(() => setRules(api, { userId: user, rules }));
      },
    },
  ];
}
