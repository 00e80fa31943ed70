import { readFileSync } from 'node:fs';

/** Either of these is there in a server that is whole: one recovers it, the other serves it. */
const ALIVE = /^postgres: (startup|walwriter)/;

/**
 * Whether a server has neither a process that recovers it nor those with which it serves. It is so
 * for a moment while it starts anew after a crash. Where one of its processes is killed in that very
 * moment, PostgreSQL 18 may wait for ever: alive, and refusing everybody. Linux only.
 */
export function isBetweenLives(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // One that somebody has stopped can't do better.
    if (/\) [tT] /.test(stat)) return false;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return !children.some((child) => child !== '' && ALIVE.test(titleOf(child)));
  } catch {
    return false;
  }
}

function titleOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
