import type { Sql } from '../store/connection.ts';
import { createPace, type Pace } from './pace.ts';
import { createPresentAlerts, type PresentAlerts } from './present-alerts.ts';

export interface SharedBySubscribers {
  presentAlerts: PresentAlerts;
  pace: Pace;
}

/** Ten thousand wakes a second: a thousand subscribers who all have something hear ten times. */
const PACE = { eachMs: 0.1, maxMs: 100 };

const instances = new WeakMap<object, SharedBySubscribers>();

/** Those of these dependencies, which all contexts of a server have in common. */
export function sharedBySubscribers(deps: { sql: Sql }): SharedBySubscribers {
  const found = instances.get(deps);
  if (found !== undefined) return found;
  const made = { presentAlerts: createPresentAlerts(deps.sql), pace: createPace(PACE) };
  instances.set(deps, made);
  return made;
}
