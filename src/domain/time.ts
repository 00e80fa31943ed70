/**
 * Event time: integer microseconds since 1970-01-01T00:00:00Z, as a number. A double holds them
 * exactly until the year 2255. Never a Date, whose milliseconds would merge distinct keys.
 */
export type Micros = number;

export const MICROS_PER_MS = 1_000;
export const MICROS_PER_SECOND = 1_000_000;

const RFC_3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|([+-])(\d\d):(\d\d))$/;

/**
 * Reads an RFC 3339 timestamp. More than six fraction digits are cut, not rounded, so that a time
 * never moves into the next second. Null when the text is not one or names no real date.
 */
export function parseRfc3339(text: string): Micros | null {
  return parseUsual(text) ?? parseAny(text);
}

const ZERO = 0x30;
const USUAL_YEARS = { from: 1970, to: 2255 };

/**
 * `2026-01-31T12:00:00Z` with no fraction digits or 1 to 6 of them, as nearly all devices write it:
 * a third of the time that the pattern takes. Null for what it leaves to the pattern.
 */
function parseUsual(text: string): Micros | null {
  const { length } = text;
  if (length < 20 || length > 27 || text[length - 1] !== 'Z') return null;
  if (text[4] !== '-' || text[7] !== '-' || text[10] !== 'T') return null;
  if (text[13] !== ':' || text[16] !== ':') return null;
  if (length > 20 && (text[19] !== '.' || length === 21)) return null;
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  const hour = digits(text, 11, 13);
  const minute = digits(text, 14, 16);
  const second = digits(text, 17, 19);
  const fraction = length === 20 ? 0 : digits(text, 20, length - 1);
  const isUsual =
    year >= USUAL_YEARS.from &&
    year <= USUAL_YEARS.to &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= 28 &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 59;
  // Not a number where one of the characters is no digit.
  if (!isUsual || Number.isNaN(hour + minute + second + fraction)) return null;
  const seconds = ((daysSinceEpoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
  return seconds * MICROS_PER_SECOND + fraction * (POWERS_OF_TEN[27 - length] as number);
}

/**
 * Of a date from 1970 on, without a call of the runtime. Years begin in March, so that the day by
 * which some are longer is their last: Hinnant, "chrono-Compatible Low-Level Date Algorithms",
 * days_from_civil.
 */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const y = month > 2 ? year : year - 1;
  const m = month > 2 ? month - 3 : month + 9;
  const leapDays = Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400);
  return y * 365 + leapDays + Math.floor((153 * m + 2) / 5) + day - 719_469;
}

/** By how many of six fraction digits are missing; seven where there are none, and no fraction. */
const POWERS_OF_TEN = [1, 10, 100, 1_000, 10_000, 100_000, 0, 0];

function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

function parseAny(text: string): Micros | null {
  const m = RFC_3339.exec(text);
  if (!m) return null;
  const year = Number(m[1]);
  const month = Number(m[2]);
  const day = Number(m[3]);
  const hour = Number(m[4]);
  const minute = Number(m[5]);
  const second = Number(m[6]);
  // A leap second is accepted and becomes the next minute's first, as POSIX time has none.
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60) return null;
  if (day < 1 || day > daysInMonth(year, month)) return null;
  let ms = Date.UTC(2000, month - 1, day, hour, minute, second);
  if (year !== 2000) {
    const date = new Date(0);
    date.setUTCFullYear(year, month - 1, day);
    date.setUTCHours(hour, minute, second);
    ms = date.getTime();
  }
  if (m[9]) {
    const offsetHours = Number(m[10]);
    const offsetMinutes = Number(m[11]);
    if (offsetHours > 23 || offsetMinutes > 59) return null;
    ms -= (m[9] === '-' ? -1 : 1) * (offsetHours * 60 + offsetMinutes) * 60_000;
  }
  const fraction = m[7] ? Number(m[7].slice(0, 6).padEnd(6, '0')) : 0;
  return ms * MICROS_PER_MS + fraction;
}

function daysInMonth(year: number, month: number): number {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
}

/** RFC 3339 in UTC with three fraction digits, or six when the microseconds need them. */
export function formatMicros(micros: Micros): string {
  const ms = Math.floor(micros / MICROS_PER_MS);
  const rest = micros - ms * MICROS_PER_MS;
  const text = new Date(ms).toISOString();
  return rest === 0 ? text : `${text.slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
}
