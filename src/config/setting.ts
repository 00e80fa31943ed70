import type { Kind } from './kinds.ts';

export interface Setting<T, Default extends string | null = string | null> {
  /** The environment variable. */
  name: string;
  kind: Kind<T>;
  /** As a user would write it; null where there is none. */
  default: Default;
  description: string;
}

export function setting<T, const Default extends string | null>(
  name: string,
  kind: Kind<T>,
  fallback: Default,
  description: string,
): Setting<T, Default> {
  return { name, kind, default: fallback, description };
}
