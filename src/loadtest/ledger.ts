import type { Micros } from '../domain/time.ts';

/** What was published for one device and what became of it, by sequence id (1-based). */
export interface Ledger {
  readonly published: number;
  readonly acknowledged: number;
  /** The highest sequence id up to which all were acknowledged. */
  readonly acknowledgedUpTo: number;
  /** Adds the next reading; its sequence id is the return value. */
  publish(time: Micros): number;
  acknowledge(sequenceId: number): void;
  isAcknowledged(sequenceId: number): boolean;
  /** The event time of a published reading. */
  timeOf(sequenceId: number): Micros;
  /** The sequence id of the reading of this time, 0 for none; for times that rise. */
  numberAt(time: Micros): number;
}

/** `capacity`: how many readings will be published at most; 9 bytes of memory each. */
export function createLedger(capacity: number): Ledger {
  const times = new Float64Array(capacity + 1);
  const acknowledgements = new Uint8Array(capacity + 2);
  let published = 0;
  let acknowledged = 0;
  let acknowledgedUpTo = 0;
  return {
    get published() {
      return published;
    },
    get acknowledged() {
      return acknowledged;
    },
    get acknowledgedUpTo() {
      return acknowledgedUpTo;
    },
    publish(time) {
      if (published === capacity) throw new Error(`a ledger of ${capacity} readings is full`);
      published++;
      times[published] = time;
      return published;
    },
    acknowledge(sequenceId) {
      if (acknowledgements[sequenceId] === 1) return;
      acknowledgements[sequenceId] = 1;
      acknowledged++;
      while (acknowledgements[acknowledgedUpTo + 1] === 1) acknowledgedUpTo++;
    },
    isAcknowledged: (sequenceId) => acknowledgements[sequenceId] === 1,
    timeOf: (sequenceId) => times[sequenceId] as Micros,
    numberAt(time) {
      let low = 1;
      let high = published;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        if ((times[middle] as Micros) < time) low = middle + 1;
        else high = middle;
      }
      return times[low] === time && low <= published ? low : 0;
    },
  };
}
