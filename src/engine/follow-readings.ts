import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import { deviceKey } from '../domain/topic.ts';
import type { Sql } from '../store/connection.ts';
import { type DeviceHead, deviceHeads } from '../store/device-heads.ts';
import { type ReadingRange, readingsBetween } from '../store/readings-between.ts';
import type { ReadingPosition } from '../store/readings-page.ts';
import type { Device, ReadingFeed } from './reading-feed.ts';

/** Reads what other processes store of the devices that somebody watches here. */
export interface ReadingFollower {
  start(): void;
  close(): void;
}

/** One watched device. */
interface Followed {
  device: Device;
  /** Everything up to here was published, or is from before the watch. */
  read: ReadingPosition | null;
  /** The version up to which `read` goes. */
  version: number;
  /** As the round before found it; null where the device had sent nothing. */
  head: DeviceHead | null;
}

const MAX_BACKOFF_MS = 1_000;
/** Of one device in one statement. */
const PAGE = 200;
/** Devices in one statement that reads readings. */
const GROUP = 50;
/** The rounds take at most a fifth of the time, however many devices are watched. */
const PAUSE_PER_ROUND = 4;

/**
 * Asks for the heads of all watched devices at once, four times a second, and publishes what lies
 * between where a device stood and where it stands. It asks of every device, as a partition may
 * leave and come back between two rounds: what this process's own lanes have published is read
 * again and falls to the feed, which gives none twice. A round reads to the heads of the round
 * before, so that the lanes come first, in their order. Readings carry no order of commits, so a
 * late one of another process, not above what was read, is left out.
 */
export function createReadingFollower(
  deps: { feed: ReadingFeed; sql: Sql; model: Model; logger: Pick<Logger, 'warn' | 'info'> },
  { pollIntervalMs = 250 }: { pollIntervalMs?: number } = {},
): ReadingFollower {
  const { feed, sql, model, logger } = deps;
  /** By the feed's own object: a device that is left and watched anew begins anew. */
  let followed = new Map<Device, Followed>();
  let closed = false;
  let failures = 0;
  let wake = (): void => {};

  /** Without anybody who watches it waits for the first. */
  function pause(ms: number): Promise<void> {
    const isIdle = feed.watched().length === 0;
    return new Promise((resolve) => {
      const timer = isIdle ? undefined : setTimeout(resolve, ms);
      wake = () => {
        if (!isIdle && !closed) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function run(): Promise<void> {
    let pauseMs = 0;
    while (!closed) {
      await pause(pauseMs);
      if (closed) return;
      const begun = performance.now();
      try {
        await round();
        if (failures > 0) logger.info('readings of other processes are followed again');
        failures = 0;
      } catch (error) {
        failures++;
        if (failures === 1 && !closed) logger.warn({ err: error }, 'readings: cannot follow them');
      }
      const backoffMs = failures === 0 ? 0 : Math.min(MAX_BACKOFF_MS, 250 * failures);
      const tookMs = performance.now() - begun;
      pauseMs = Math.max(pollIntervalMs, backoffMs, PAUSE_PER_ROUND * tookMs);
    }
  }

  async function round(): Promise<void> {
    const devices = feed.watched();
    if (devices.length === 0) {
      followed = new Map();
      return;
    }
    const found = await deviceHeads(sql, devices);
    const heads = new Map(found.map((head) => [deviceKey(head), head]));
    const known = devices.flatMap((device) => followed.get(device) ?? []);
    for (const group of inGroups(known.filter(hasMoved), GROUP)) await readOn(group);
    const begun: Followed[] = [];
    const added = devices.filter((device) => !followed.has(device));
    for (const group of inGroups(added, GROUP)) begun.push(...(await begin(group, heads)));
    followed = new Map([...known, ...begun].map((entry) => [entry.device, entry]));
    for (const entry of known) entry.head = heads.get(deviceKey(entry.device)) ?? null;
  }

  /** Where a watch begins: behind all that is stored at the newest time. */
  async function begin(
    devices: readonly Device[],
    heads: ReadonlyMap<string, DeviceHead>,
  ): Promise<Followed[]> {
    const entries = devices.map((device): Followed => {
      const head = heads.get(deviceKey(device)) ?? null;
      const time = head?.newestTime ?? null;
      const read = time === null ? null : { time, sequenceId: Number.MIN_SAFE_INTEGER };
      return { device, read, version: head?.version ?? 0, head };
    });
    await readRanges(entries, () => {});
    return entries;
  }

  async function readOn(entries: readonly Followed[]): Promise<void> {
    for (const entry of entries) {
      const newest = entry.head?.newestTime ?? null;
      // The clock of the device was reset: from its newest reading on.
      if (newest !== null && entry.read !== null && newest < entry.read.time) {
        entry.read = { time: newest, sequenceId: Number.MIN_SAFE_INTEGER };
      }
    }
    const versions = entries.map(({ head }) => head?.version ?? 0);
    await readRanges(entries, feed.publish);
    entries.forEach((entry, index) => {
      entry.version = versions[index] as number;
      if (entry.read !== null) feed.readUpTo(entry.device, entry.read.time);
    });
  }

  /** Moves each on to its head, page by page. */
  async function readRanges(
    entries: readonly Followed[],
    take: ReadingFeed['publish'],
  ): Promise<void> {
    let left = [...entries];
    while (!closed) {
      const ranges = left.flatMap(rangeOf);
      if (ranges.length === 0) return;
      const readings = await readingsBetween(sql, model, { ranges, limit: PAGE });
      take(readings);
      const byDevice = Map.groupBy(readings, deviceKey);
      left = left.filter((entry) => {
        const own = byDevice.get(deviceKey(entry.device)) ?? [];
        entry.read = own.at(-1) ?? entry.read;
        return own.length === PAGE;
      });
    }
  }

  return {
    start() {
      feed.onWatch(() => wake());
      void run();
    },
    close() {
      closed = true;
      wake();
    },
  };
}

function hasMoved({ head, version }: Followed): boolean {
  return head !== null && head.version !== version;
}

function rangeOf({ device, read, head }: Followed): ReadingRange[] {
  const upTo = head?.newestTime ?? null;
  return upTo === null ? [] : [{ ...device, after: read, upTo }];
}

function inGroups<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, n) => items.slice(n * size, (n + 1) * size));
}
