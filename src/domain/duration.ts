import { MICROS_PER_SECOND, type Micros } from './time.ts';

/**
 * A length of time as people write it. Months and days are those of the calendar, whose length in
 * microseconds depends on where and when; hours and less are fixed.
 */
export interface Duration {
  months: number;
  days: number;
  micros: Micros;
}

const ISO =
  /^P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?)?$/;
const SHORT = /^(\d+)(ms|s|m|h|d|w|mo|y)$/;

const MINUTE = 60 * MICROS_PER_SECOND;
const HOUR = 60 * MINUTE;
/** Ten thousand years: longer ones would leave the range of exact microseconds. */
const MAX_MONTHS = 120_000;

/** Reads ISO 8601 (`PT1M`, `P1D`, `P1M`) or short (`90s`, `6h`, `1mo`); null where it is neither. */
export function parseDuration(text: string): Duration | null {
  const duration = parseIso(text) ?? parseShort(text);
  if (duration === null) return null;
  const fits =
    duration.months <= MAX_MONTHS &&
    duration.days <= MAX_MONTHS * 31 &&
    Number.isSafeInteger(duration.micros);
  return fits ? duration : null;
}

function parseIso(text: string): Duration | null {
  const m = ISO.exec(text);
  if (!m) return null;
  const part = (index: number) => Number(m[index] ?? 0);
  return {
    months: part(1) * 12 + part(2),
    days: part(3) * 7 + part(4),
    micros:
      part(5) * HOUR +
      part(6) * MINUTE +
      part(7) * MICROS_PER_SECOND +
      Number((m[8] ?? '').padEnd(6, '0')),
  };
}

function parseShort(text: string): Duration | null {
  const m = SHORT.exec(text);
  if (!m) return null;
  const n = Number(m[1]);
  const fixed = (unit: Micros): Duration => ({ months: 0, days: 0, micros: n * unit });
  switch (m[2]) {
    case 'ms':
      return fixed(1_000);
    case 's':
      return fixed(MICROS_PER_SECOND);
    case 'm':
      return fixed(MINUTE);
    case 'h':
      return fixed(HOUR);
    case 'd':
      return { months: 0, days: n, micros: 0 };
    case 'w':
      return { months: 0, days: 7 * n, micros: 0 };
    case 'mo':
      return { months: n, days: 0, micros: 0 };
    default:
      return { months: 12 * n, days: 0, micros: 0 };
  }
}

/** ISO 8601, in its largest units: `PT1M30S`, `P1W`, `P1Y`. */
export function formatDuration({ months, days, micros }: Duration): string {
  const date = [
    months >= 12 ? `${Math.floor(months / 12)}Y` : '',
    months % 12 > 0 ? `${months % 12}M` : '',
    days > 0 && days % 7 === 0 ? `${days / 7}W` : days > 0 ? `${days}D` : '',
  ].join('');
  const hours = Math.floor(micros / HOUR);
  const minutes = Math.floor((micros % HOUR) / MINUTE);
  const seconds = Math.floor((micros % MINUTE) / MICROS_PER_SECOND);
  const fraction = micros % MICROS_PER_SECOND;
  const digits = fraction > 0 ? `.${String(fraction).padStart(6, '0').replace(/0+$/, '')}` : '';
  const time = [
    hours > 0 ? `${hours}H` : '',
    minutes > 0 ? `${minutes}M` : '',
    seconds > 0 || fraction > 0 ? `${seconds}${digits}S` : '',
  ].join('');
  if (date === '' && time === '') return 'PT0S';
  return `P${date}${time === '' ? '' : `T${time}`}`;
}

/** The same length wherever and whenever: a day has 24 hours. Null where it has months or years. */
export function fixedMicros({ months, days, micros }: Duration): Micros | null {
  return months > 0 ? null : days * 24 * HOUR + micros;
}
