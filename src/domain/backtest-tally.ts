import type { BacktestEpisode } from './backtest.ts';
import type { Micros } from './time.ts';
import type { Zone } from './zone.ts';

/** A calendar day on which a rule fired or went on firing. */
export interface BacktestDay {
  /** `2026-01-31`. */
  day: string;
  /** Episodes that began on it. */
  count: number;
  /** Of all devices together. */
  firing: Micros;
}

/** Sums up episodes as they come, in any order; keeps a limited number of them. */
export interface BacktestTally {
  add(episode: BacktestEpisode): void;
  result(): {
    /** By device and start: all, or the first that were added. */
    episodes: BacktestEpisode[];
    episodeCount: number;
    /** Days without any are left out. */
    days: BacktestDay[];
    firing: Micros;
    /** Devices on which it still fires. */
    firingAtEnd: number;
  };
}

/** @param options.end of what is looked at: an open episode counts up to there */
export function createBacktestTally(options: {
  zone: Zone;
  end: () => Micros;
  maxEpisodes: number;
}): BacktestTally {
  const { zone, end, maxEpisodes } = options;
  const kept: BacktestEpisode[] = [];
  const days = new Map<number, { count: number; firing: Micros }>();
  let episodeCount = 0;
  let firing: Micros = 0;
  let firingAtEnd = 0;
  /** The day that was looked up last: the next one is mostly the same, and a lookup costs. */
  let known = { day: 0, from: 0, to: 0 };

  function dayAt(micros: Micros): typeof known {
    if (micros >= known.from && micros < known.to) return known;
    const day = zone.dayOf(micros);
    known = { day, from: zone.startOfDay(day), to: zone.startOfDay(day + 1) };
    return known;
  }

  function entryOf(day: number): { count: number; firing: Micros } {
    const entry = days.get(day) ?? { count: 0, firing: 0 };
    days.set(day, entry);
    return entry;
  }

  return {
    add(episode) {
      const { startedAt } = episode;
      const stop = episode.resolvedAt ?? end();
      episodeCount++;
      firing += stop - startedAt;
      if (episode.resolvedAt === null) firingAtEnd++;
      if (kept.length < maxEpisodes) kept.push(episode);
      entryOf(dayAt(startedAt).day).count++;
      for (let from = startedAt; from < stop; ) {
        const { day, to } = dayAt(from);
        const until = Math.min(to, stop);
        entryOf(day).firing += until - from;
        from = until;
      }
    },
    result() {
      const sorted = [...days].sort(([a], [b]) => a - b);
      return {
        episodes: kept.sort(byDeviceAndStart),
        episodeCount,
        days: sorted.map(([day, entry]) => ({ day: dateOf(day), ...entry })),
        firing,
        firingAtEnd,
      };
    },
  };
}

function byDeviceAndStart(a: BacktestEpisode, b: BacktestEpisode): number {
  if (a.deviceId === b.deviceId) return a.startedAt - b.startedAt;
  return a.deviceId < b.deviceId ? -1 : 1;
}

function dateOf(day: number): string {
  return new Date(day * 86_400_000).toISOString().slice(0, 10);
}
