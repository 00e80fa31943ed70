import { tracingSettings } from './config/tracing.ts';
import type { Tracer } from './engine/tracer.ts';
import type { Surroundings } from './modes.ts';

const CLOSE_MS = 4_000;

/** Undefined where nobody collects traces: its packages are loaded only where somebody does. */
export async function openTracing(around: Surroundings): Promise<Tracer | undefined> {
  const { config, logger, releases } = around;
  const settings = tracingSettings(config);
  if (settings === null) return undefined;
  const { startTracing } = await import('./tracing.ts');
  const tracing = startTracing({ ...settings, logger });
  releases.add('traces', () => tracing.close(), CLOSE_MS);
  return tracing.tracer;
}
