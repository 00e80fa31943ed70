import { signal } from '@preact/signals';
import { zone } from './preferences.ts';

/** Epoch ms, moved on each second: ages follow it. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);
document.addEventListener('visibilitychange', () => {
  now.value = Date.now();
});

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const id = `${zone.value}${JSON.stringify(options)}`;
  let format = formats.get(id);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone.value, ...options });
    formats.set(id, format);
  }
  return format;
}

/** `2026-01-31 12:00:05`, in the chosen timezone. */
export function dateTime(time: string | number): string {
  return formatOf({ dateStyle: 'short', timeStyle: 'medium' }).format(new Date(time));
}

/** The time of day where it is today's, else with the date. */
export function shortTime(time: string): string {
  const text = dateTime(time);
  const [day, clock] = text.split(' ');
  return dateTime(now.value).startsWith(day as string) ? (clock as string) : text;
}

const DAY = 86_400;

/** What stands at the ticks of a time axis, epoch seconds: the day only where it is another one. */
export function timeTicks(ticks: readonly number[], step: number): string[] {
  let before = '';
  return ticks.map((tick) => {
    const [day = '', clock = ''] = dateTime(tick * 1_000).split(' ');
    const isNew = day !== before;
    before = day;
    if (step >= 365 * DAY) return day.slice(0, 4);
    if (step >= 28 * DAY) return day.slice(0, 7);
    if (step >= DAY) return day;
    const time = step < 60 ? clock : clock.slice(0, 5);
    return isNew ? `${time}\n${day}` : time;
  });
}

const UNITS = [
  ['y', 31_536_000],
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const;

/** `3 min`, `2 d`: the largest unit alone. */
export function span(seconds: number): string {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ['s', 1];
  return `${Math.max(0, Math.floor(seconds / size))} ${unit}`;
}

/** How long ago. */
export function age(time: string | null): string {
  if (time === null) return '–';
  const seconds = (now.value - Date.parse(time)) / 1_000;
  return seconds < 1 ? 'now' : span(seconds);
}

/** Seconds of an ISO 8601 duration; calendar units by their usual length. */
export function isoSeconds(duration: string): number {
  const parts =
    /^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$/.exec(
      duration,
    );
  const sizes = [31_536_000, 2_592_000, 604_800, 86_400, 3_600, 60, 1];
  return sizes.reduce((sum, size, at) => sum + size * Number(parts?.[at + 1] ?? 0), 0);
}

const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const large = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export function number(value: number | null | undefined): string {
  if (value == null) return '–';
  const size = Math.abs(value);
  if (size >= 1e15 || (size < 0.005 && size > 0)) return value.toExponential(2);
  return size >= 100_000 ? large.format(value) : plain.format(value);
}

/** Any value of a reading, short. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'number') return number(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const SIGNS: Record<string, string> = { GT: '>', LT: '<', GTE: '≥', LTE: '≤', EQ: '=', NE: '≠' };
export const sign = (operator: string | null | undefined) => SIGNS[operator ?? ''] ?? '';
