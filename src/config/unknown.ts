/** Finds the misspelt settings among all that a shell exports, which is mostly not for us. */
import { editDistance } from '../domain/edit-distance.ts';

/** Nobody else uses these, bar the exceptions below: what begins so is meant for us. */
const OURS = /^(?:PULSEGRAPH|KAFKA|MQTT|BATCH_MAX|LOG_RETENTION)_/;

/** Kafka's own scripts, and what Kubernetes sets for a service that is named kafka or mqtt. */
const FOREIGN =
  /^KAFKA_(?:HOME|DEBUG|JMX_PORT|LOG_DIR|(?:\w+_)?OPTS)$|_SERVICE_(?:HOST|PORT)|_PORT_\d+_(?:TCP|UDP)/;

/** One line for each variable that was meant to be a setting and is none. */
export function unknownSettings(
  env: Record<string, string | undefined>,
  settings: readonly string[],
): string[] {
  const faults: string[] = [];
  for (const [variable, value] of Object.entries(env)) {
    if (!value || settings.includes(variable) || FOREIGN.test(variable)) continue;
    const name = variable.toUpperCase();
    const isOurs = OURS.test(name);
    // Short names and names of one word are near to too much: LOGLEVEL, PORTS, HOSTS.
    if (!isOurs && (name.length < 7 || !name.includes('_'))) continue;
    const guess = nearest(name.replace(/^PULSEGRAPH_/, ''), settings, isOurs ? 3 : 1);
    if (guess !== null) faults.push(`${variable} is not a setting: did you mean ${guess}?`);
    else if (isOurs) {
      faults.push(`${variable} is not a setting: docs/configuration.md lists them; unset it`);
    }
  }
  return faults;
}

function nearest(name: string, candidates: readonly string[], limit: number): string | null {
  let best: string | null = null;
  let bestDistance = limit + 1;
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}
