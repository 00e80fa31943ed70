import { effect, signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

/** Kept in this browser. */
export const theme = signal<Theme>((localStorage.getItem('theme') as Theme | null) ?? 'auto');
/** IANA name: of charts, tables and calendar days. */
export const zone = signal(localStorage.getItem('timezone') ?? ownZone);

export const zones = [...new Set([ownZone, 'UTC', ...Intl.supportedValuesOf('timeZone')])];

effect(() => {
  localStorage.setItem('theme', theme.value);
  if (theme.value === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});
effect(() => localStorage.setItem('timezone', zone.value));

const prefersDark = matchMedia('(prefers-color-scheme: dark)');
const systemDark = signal(prefersDark.matches);
prefersDark.addEventListener('change', () => {
  systemDark.value = prefersDark.matches;
});

/** Whether dark is on, by choice or by the system; canvases draw anew when it changes. */
export const isDark = () => (theme.value === 'auto' ? systemDark.value : theme.value === 'dark');
