import { readFileSync } from 'node:fs';

/** The resident memory of the processes under test, the largest of them each time, in MB. */
export interface MemoryWatch {
  /** After a third of the samples, at the end, and the most ever. */
  summary(): { warmMb: number; endMb: number; maxMb: number };
  stop(): void;
}

const SAMPLE_MS = 1_000;
const BYTES_PER_MB = 1_048_576;

export function watchMemory(pids: () => readonly number[]): MemoryWatch {
  const samples: number[] = [];
  const timer = setInterval(() => {
    const largest = Math.max(0, ...pids().map(residentMb));
    if (largest > 0) samples.push(largest);
  }, SAMPLE_MS);
  const median = (of: number[]) => of.toSorted((a, b) => a - b)[of.length >> 1] ?? 0;
  return {
    summary() {
      const third = Math.ceil(samples.length / 3);
      const tenth = Math.ceil(samples.length / 10);
      return {
        warmMb: median(samples.slice(third - tenth, third)),
        endMb: median(samples.slice(-tenth)),
        maxMb: Math.max(0, ...samples),
      };
    },
    stop: () => clearInterval(timer),
  };
}

function residentMb(pid: number): number {
  try {
    const [, kb = '0'] =
      /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Math.round((Number(kb) * 1024) / BYTES_PER_MB);
  } catch {
    return 0;
  }
}
