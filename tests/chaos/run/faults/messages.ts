import { integerBetween, type Random } from '../../../../src/loadtest/random.ts';
import { type Fault, healed } from '../fault.ts';
import type { Mix } from '../mix.ts';

const [FEWEST, MOST] = [5, 20];

/** Messages that are no harm to the stack, only to its data if it takes them for what they aren't. */
export function messageFaults(mix: Mix): Fault[] {
  const burst = (name: string, send: (random: Random) => void): Fault => ({
    name,
    targets: [],
    holdMs: [0, 0],
    async inject(random) {
      const count = integerBetween(random, FEWEST, MOST);
      for (let n = 0; n < count; n++) send(random);
      return healed;
    },
  });
  return [
    burst('clock back: late readings', mix.late),
    burst('clock ahead: future readings', mix.ahead),
    burst('bad messages', mix.bad),
  ];
}
