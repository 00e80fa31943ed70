import { readdirSync, readFileSync } from 'node:fs';

/** CPU seconds since their start, user and system. 0 but for `self` where there is no /proc. */
export interface CpuSeconds {
  /** This process, its threads included. */
  self: number;
  /** PostgreSQL, its ended backends included. */
  postgres: number;
  /** The Kafka broker. */
  java: number;
}

interface ProcessStat {
  pid: number;
  name: string;
  parent: number;
  /** Its own and of those that it has waited for. */
  seconds: number;
  residentMiB: number;
}

const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4_096;

/** Of this process and what it has started. */
export function cpuSeconds(): CpuSeconds {
  const all = processes();
  const mine = descendants(all, process.pid);
  const of = (name: string) =>
    mine.filter((one) => one.name === name).reduce((sum, { seconds }) => sum + seconds, 0);
  const { user, system } = process.cpuUsage();
  return { self: (user + system) / 1e6, postgres: of('postgres'), java: of('java') };
}

/** Microseconds for each of `count`, between two readings of the clock. */
export function cpuEach(before: CpuSeconds, after: CpuSeconds, count: number): CpuSeconds {
  const each = (name: keyof CpuSeconds) => ((after[name] - before[name]) * 1e6) / count;
  return { self: each('self'), postgres: each('postgres'), java: each('java') };
}

/** Of one process alone. */
export function cpuSecondsOf(pid: number): number {
  return statOf(pid)?.seconds ?? 0;
}

/** Of one process alone: MiB. */
export function residentMiB(pid: number): number {
  return statOf(pid)?.residentMiB ?? 0;
}

function processes(): ProcessStat[] {
  if (process.platform !== 'linux') return [];
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => statOf(Number(pid))).filter((stat) => stat !== null);
}

function descendants(all: readonly ProcessStat[], root: number): ProcessStat[] {
  const children = all.filter(({ parent }) => parent === root);
  return children.flatMap((child) => [child, ...descendants(all, child.pid)]);
}

function statOf(pid: number): ProcessStat | null {
  try {
    const [head = '', fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
    const values = fields.split(' ').map(Number);
    const at = (field: number) => values[field] ?? 0;
    return {
      pid,
      name: head.slice(head.indexOf('(') + 1),
      parent: at(1),
      seconds: (at(11) + at(12) + at(13) + at(14)) / TICKS_PER_SECOND,
      residentMiB: (at(21) * PAGE_BYTES) / 2 ** 20,
    };
  } catch {
    // It has ended meanwhile, or there is no /proc.
    return null;
  }
}
