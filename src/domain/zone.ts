/** The calendar of an IANA timezone. Days are numbered from 1970-01-01, which is day 0. */
import { MICROS_PER_MS, type Micros } from './time.ts';

const DAY_MS = 86_400_000;

export interface Zone {
  readonly name: string;
  /** The local day that an instant falls on. */
  dayOf(micros: Micros): number;
  /** The first instant of a local day: 01:00 where the clock skips midnight. */
  startOfDay(day: number): Micros;
}

/** Null where there is no such zone. */
export function zone(name: string): Zone | null {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  } catch {
    return null;
  }

  /** Local wall clock minus UTC, in milliseconds. */
  function offsetMs(ms: number): number {
    const parts: Record<string, string> = {};
    for (const part of format.formatToParts(ms)) parts[part.type] = part.value;
    const year = parts.era === 'BC' ? 1 - Number(parts.year) : Number(parts.year);
    const wall = new Date(0);
    wall.setUTCFullYear(year, Number(parts.month) - 1, Number(parts.day));
    wall.setUTCHours(Number(parts.hour), Number(parts.minute), Number(parts.second));
    const seconds = Math.floor(ms / 1000) * 1000;
    return wall.getTime() - seconds;
  }

  function dayOfMs(ms: number): number {
    return Math.floor((ms + offsetMs(ms)) / DAY_MS);
  }

  function startOfDayMs(day: number): number {
    const wall = day * DAY_MS;
    // The offsets in force around that midnight; a change within half a day is between the two.
    const before = wall - offsetMs(wall - DAY_MS);
    const after = wall - offsetMs(wall + DAY_MS);
    const early = Math.min(before, after);
    const late = Math.max(before, after);
    if (dayOfMs(early) === day && dayOfMs(early - 1) < day) return early;
    if (dayOfMs(late) === day && dayOfMs(late - 1) < day) return late;
    // The clock skips midnight: the day begins with the change, found to the second.
    let [low, high] = [early - DAY_MS / 2, late + DAY_MS / 2];
    while (high - low > 1000) {
      const middle = Math.floor((low + high) / 2000) * 1000;
      if (dayOfMs(middle) >= day) high = middle;
      else low = middle;
    }
    return high;
  }

  const utc = name === 'UTC' || name === 'Etc/UTC';
  return {
    name,
    dayOf: (micros) => {
      const ms = Math.floor(micros / MICROS_PER_MS);
      return utc ? Math.floor(ms / DAY_MS) : dayOfMs(ms);
    },
    startOfDay: (day) => (utc ? day * DAY_MS : startOfDayMs(day)) * MICROS_PER_MS,
  };
}
