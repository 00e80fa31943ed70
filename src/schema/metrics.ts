import { Counter, Gauge, Registry } from 'prom-client';
import type { EngineStatus, IngestCounters } from '../engine/status.ts';
import { INGEST_COUNTERS } from './ingest.ts';

/** Prometheus's text format, made of the engine's own counts when it is asked for. */
export function createMetrics(engineStatus: () => EngineStatus): Registry {
  const registry = new Registry();
  const registers = [registry];
  for (const [name, help] of Object.entries(INGEST_COUNTERS) as [keyof IngestCounters, string][]) {
    const metric = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    new Counter({
      name: `pulsegraph_${metric}_total`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(engineStatus().counters[name]);
      },
    });
  }
  new Gauge({
    name: 'pulsegraph_lane_lag',
    help: 'Records of a partition that are not stored yet',
    labelNames: ['partition'],
    registers,
    collect() {
      this.reset();
      for (const lane of engineStatus().lanes) this.set({ partition: lane.partition }, lane.lag);
    },
  });
  new Gauge({
    name: 'pulsegraph_lane_running',
    help: '1 while the lane of a partition runs',
    labelNames: ['partition'],
    registers,
    collect() {
      this.reset();
      for (const { partition, state } of engineStatus().lanes) {
        this.set({ partition }, state === 'RUNNING' ? 1 : 0);
      }
    },
  });
  return registry;
}
