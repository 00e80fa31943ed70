/** Finds the misspelt settings among all that a shell exports, which is mostly not for us. */

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

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let distance = Math.min(replaced, at(last, j) + 1, at(row, j - 1) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, at(beforeLast, j - 2) + 1);
      }
      row.push(distance);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

const at = (row: number[], index: number): number => row[index] ?? Number.POSITIVE_INFINITY;
