import { formatMicros, type Micros } from '../domain/time.ts';
import type { Ledger } from './ledger.ts';

/** An alert as it must be, or as it was stored: one rule on one device, from start to end. */
export interface Episode {
  userId: string;
  deviceId: string;
  ruleId: string;
  startedAt: Micros;
  /** Null while it fires. */
  resolvedAt: Micros | null;
}

export interface StoredAlert extends Episode {
  id: string;
  /** The types of its events: FIRED, RESOLVED, ... */
  events: string[];
}

/** A transition that came in by the WebSocket or by MQTT. */
export interface ReceivedTransition {
  /** One per transition: received twice, it is the same. */
  id: string;
  userId: string;
  deviceId: string;
  ruleId: string;
  type: 'FIRED' | 'RESOLVED';
  time: Micros;
}

export interface StoredReading {
  /** Null where the model has none: there a device's times differ. */
  sequenceId: number | null;
  time: Micros;
}

/** Which of the published readings it is, by sequence id or else by time; 0 for none. */
export function numberOf(
  ledger: Ledger,
  { sequenceId, time }: { sequenceId: number | null; time: Micros | null },
): number {
  return sequenceId ?? (time === null ? 0 : ledger.numberAt(time));
}

export interface ReadingVerdict {
  /** Sequence ids that are stored with the time they were published with. */
  stored: number;
  /** Of these, how many were never acknowledged: allowed. */
  storedUnacknowledged: number;
  /** Acknowledged, and neither stored nor a dead letter. */
  lost: number[];
  /** Stored more than once. */
  duplicated: number[];
  /** Stored, but never published like this: an unknown sequence id or another time. */
  foreign: number[];
}

/** Compares what one device published with what is stored for it, or is a dead letter. */
export function compareReadings(
  ledger: Ledger,
  rows: readonly StoredReading[],
  deadLettered: ReadonlySet<number> = new Set(),
): ReadingVerdict {
  const verdict: ReadingVerdict = {
    stored: 0,
    storedUnacknowledged: 0,
    lost: [],
    duplicated: [],
    foreign: [],
  };
  const copies = new Uint8Array(ledger.published + 1);
  for (const row of rows) {
    const { time } = row;
    const sequenceId = numberOf(ledger, row);
    const known = sequenceId >= 1 && sequenceId <= ledger.published;
    if (!known || ledger.timeOf(sequenceId) !== time) verdict.foreign.push(sequenceId);
    if (!known) continue;
    const count = Math.min((copies[sequenceId] as number) + 1, 3);
    copies[sequenceId] = count;
    if (count === 2) verdict.duplicated.push(sequenceId);
  }
  for (let sequenceId = 1; sequenceId <= ledger.published; sequenceId++) {
    const acknowledged = ledger.isAcknowledged(sequenceId);
    if (copies[sequenceId] !== 0) {
      verdict.stored++;
      if (!acknowledged) verdict.storedUnacknowledged++;
    } else if (acknowledged && !deadLettered.has(sequenceId)) verdict.lost.push(sequenceId);
  }
  return verdict;
}

export interface AlertVerdict {
  expected: number;
  received: number;
  /** Expected, and not there or with another end. In words. */
  missed: string[];
  /** There, and not expected. In words. */
  false: string[];
  /** There more than once, or with a transition too many. In words. */
  doubled: string[];
}

export interface Expectation {
  /** Episodes whose readings were all acknowledged: each must be there exactly once. */
  required: readonly Episode[];
  /** Episodes with a reading that was never acknowledged: each may be there. */
  possible: readonly Episode[];
}

/** Compares stored alerts with the expected ones by (user, device, rule, start), then the end. */
export function compareAlerts(
  { required, possible }: Expectation,
  stored: readonly StoredAlert[],
): AlertVerdict {
  const verdict = emptyVerdict(required.length);
  const expected = new Map(required.map((episode) => [episodeKey(episode), episode]));
  const tolerated = new Set(possible.map(episodeKey));
  const seen = new Set<string>();
  for (const alert of stored) {
    const key = episodeKey(alert);
    const wanted = expected.get(key);
    if (wanted === undefined && !tolerated.has(key)) {
      verdict.false.push(describe(alert));
      continue;
    }
    if (seen.has(key)) {
      verdict.doubled.push(describe(alert));
      continue;
    }
    seen.add(key);
    const fired = alert.events.filter((type) => type === 'FIRED').length;
    const resolved = alert.events.filter((type) => type === 'RESOLVED').length;
    if (fired > 1 || resolved > 1) {
      verdict.doubled.push(`${describe(alert)} with events ${alert.events.join(', ')}`);
    }
    if (wanted === undefined) continue;
    if (wanted.resolvedAt !== alert.resolvedAt) {
      verdict.missed.push(`${describe(wanted)}; stored ${end(alert.resolvedAt)}`);
    } else if (fired === 0 || (resolved === 0 && wanted.resolvedAt !== null)) {
      verdict.missed.push(`${describe(wanted)}; its events are ${alert.events.join(', ')}`);
    } else verdict.received++;
  }
  for (const [key, episode] of expected) {
    if (!seen.has(key)) verdict.missed.push(describe(episode));
  }
  return verdict;
}

export interface DoorVerdict extends AlertVerdict {
  /** The same transition again: MQTT at QoS 1 may do that after a reconnect. */
  redelivered: number;
}

/** Compares the transitions that one door delivered with the expected ones. */
export function compareTransitions(
  expectation: Expectation,
  received: readonly ReceivedTransition[],
): DoorVerdict {
  const expected = transitionKeys(expectation.required);
  const tolerated = transitionKeys(expectation.possible);
  const verdict = { ...emptyVerdict(expected.size), redelivered: 0 };
  const seen = new Map<string, string>();
  for (const transition of received) {
    const key = transitionKey(transition, transition.type, transition.time);
    const before = seen.get(key);
    if (before === transition.id) verdict.redelivered++;
    else if (before !== undefined) verdict.doubled.push(key);
    else {
      seen.set(key, transition.id);
      if (expected.has(key)) verdict.received++;
      else if (!tolerated.has(key)) verdict.false.push(key);
    }
  }
  for (const key of expected) if (!seen.has(key)) verdict.missed.push(key);
  return verdict;
}

function emptyVerdict(expected: number): AlertVerdict {
  return { expected, received: 0, missed: [], false: [], doubled: [] };
}

function transitionKeys(episodes: readonly Episode[]): Set<string> {
  const keys = new Set<string>();
  for (const episode of episodes) {
    keys.add(transitionKey(episode, 'FIRED', episode.startedAt));
    if (episode.resolvedAt !== null) {
      keys.add(transitionKey(episode, 'RESOLVED', episode.resolvedAt));
    }
  }
  return keys;
}

type Place = Pick<Episode, 'userId' | 'deviceId' | 'ruleId'>;

function transitionKey(place: Place, type: string, time: Micros): string {
  return `${place.userId}/${place.deviceId} ${place.ruleId} ${type} at ${formatMicros(time)}`;
}

function episodeKey(episode: Episode): string {
  return transitionKey(episode, 'FIRED', episode.startedAt);
}

function describe(episode: Episode): string {
  const { userId, deviceId, ruleId, startedAt, resolvedAt } = episode;
  return `${userId}/${deviceId} ${ruleId} from ${formatMicros(startedAt)}, ${end(resolvedAt)}`;
}

function end(resolvedAt: Micros | null): string {
  return resolvedAt === null ? 'still firing' : `resolved at ${formatMicros(resolvedAt)}`;
}
