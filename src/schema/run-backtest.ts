import { covers } from '../domain/active-rule.ts';
import { createDeviceRun, type DeviceRun, onlyRule } from '../domain/backtest.ts';
import { type BacktestTally, createBacktestTally } from '../domain/backtest-tally.ts';
import { isNoData, type RuleSet } from '../domain/rule.ts';
import type { RuleDraft } from '../domain/rule-fields.ts';
import { formatMicros, MICROS_PER_MS, type Micros } from '../domain/time.ts';
import type { Zone } from '../domain/zone.ts';
import { countEpisodes } from '../store/count-episodes.ts';
import type { ReadingPosition } from '../store/readings-page.ts';
import { devicesHeardBefore, justBefore, readingsToJudge } from '../store/readings-to-judge.ts';
import type { Context } from './context.ts';
import { apiError } from './errors.ts';
import { ruleSetLoader } from './rule-set.ts';
import { chosenDevices } from './telemetry-series.ts';

export interface BacktestRequest {
  userId: string;
  draft: RuleDraft;
  /** Of the rule in force that it is compared with, also that of a shorthand. */
  ruleId: string | null;
  from: Micros;
  /** Exclusive. */
  to: Micros;
  deviceIds: readonly string[] | null;
  timezone: Zone;
}

export interface Backtest extends ReturnType<BacktestTally['result']> {
  readings: number;
  /** Devices that the rule takes. */
  devices: number;
  liveEpisodes: number | null;
  notes: string[];
}

/** Twenty-three devices that send each minute, over a month: some ten seconds. */
const MAX_READINGS = 1_000_000;
const MAX_EPISODES = 1_000;
/** Readings in memory at once, over the devices that are read together. */
const PAGE = 5_000;
const GROUP = 50;

/**
 * Runs a rule over stored readings, page by page, so that memory doesn't grow with them.
 *
 * @throws TOO_EXPENSIVE for too many devices or readings, and past the request's deadline
 */
export async function runBacktest(context: Context, request: BacktestRequest): Promise<Backtest> {
  const { userId, draft, from, to, timezone } = request;
  const ruleSet = onlyRule(draft, userId, context.model);
  const active = [...ruleSet.thresholds, ...ruleSet.silences];
  const chosen = await chosenDevices(context, userId, request.deviceIds);
  const deviceIds = chosen.filter((id) => active.every((rule) => covers(rule, id)));
  let end = Math.max(from, Math.min(to, Date.now() * MICROS_PER_MS));
  const tally = createBacktestTally({ zone: timezone, end: () => end, maxEpisodes: MAX_EPISODES });
  let readings = 0;
  for (let at = 0; at < deviceIds.length; at += GROUP) {
    const group = deviceIds.slice(at, at + GROUP);
    const runs = await startRuns(context, { ...request, ruleSet, group }, tally);
    await readGroup(context, { ...request, runs }, ({ count, newest }) => {
      readings += count;
      // Of a device whose clock is ahead.
      end = Math.max(end, newest);
      if (readings > MAX_READINGS) throw tooManyReadings(request, deviceIds.length);
    });
    for (const run of runs.values()) run.end(end);
  }
  return {
    ...tally.result(),
    readings,
    devices: deviceIds.length,
    liveEpisodes: await liveEpisodes(context, request, deviceIds),
    notes: notesOf(request, chosen, deviceIds),
  };
}

async function startRuns(
  { sql, model }: Context,
  { userId, from, ruleSet, group }: BacktestRequest & { ruleSet: RuleSet; group: string[] },
  tally: BacktestTally,
): Promise<Map<string, DeviceRun>> {
  const asked = { userId, deviceIds: group, before: from };
  const watchesSilence = ruleSet.silences.length > 0;
  const heard = watchesSilence ? await devicesHeardBefore(sql, model, asked) : new Set<string>();
  return new Map(
    group.map((deviceId) => {
      const quietSince = heard.has(deviceId) ? from : null;
      return [deviceId, createDeviceRun(ruleSet, { userId, deviceId, quietSince }, tally.add)];
    }),
  );
}

/** Gives the devices their readings in the range: a page of each, until none is left. */
async function readGroup(
  { sql, model }: Context,
  { userId, draft, from, to, runs }: BacktestRequest & { runs: Map<string, DeviceRun> },
  onPage: (page: { count: number; newest: Micros }) => void,
): Promise<void> {
  const key = isNoData(draft) ? null : draft.key;
  let left = [...runs.keys()].map((deviceId): { deviceId: string; after: ReadingPosition } => ({
    deviceId,
    after: justBefore(from),
  }));
  while (left.length > 0) {
    const limit = Math.ceil(PAGE / left.length);
    const page = await readingsToJudge(sql, model, { userId, devices: left, to, key, limit });
    let newest = from;
    for (const reading of page) {
      runs.get(reading.deviceId)?.take(reading);
      newest = Math.max(newest, reading.time);
    }
    onPage({ count: page.length, newest });
    const byDevice = Map.groupBy(page, ({ deviceId }) => deviceId);
    left = left.flatMap(({ deviceId }) => {
      const own = byDevice.get(deviceId) ?? [];
      const last = own.at(-1);
      return own.length === limit && last !== undefined ? [{ deviceId, after: last }] : [];
    });
  }
}

/** What the rule of this id did live, where it is one of those in force. */
async function liveEpisodes(
  context: Context,
  { userId, ruleId, from, to }: BacktestRequest,
  deviceIds: readonly string[],
): Promise<number | null> {
  const { ruleSet } = await ruleSetLoader(context).load(userId);
  if (ruleId === null || !ruleSet.all.some(({ id }) => id === ruleId)) return null;
  return await countEpisodes(context.sql, { userId, ruleId, deviceIds, from, to });
}

function tooManyReadings({ from, to }: BacktestRequest, devices: number): Error {
  return apiError(
    'TOO_EXPENSIVE',
    `more than ${MAX_READINGS} readings of ${devices} devices from ${formatMicros(from)} to ` +
      `${formatMicros(to)}; ask for a shorter range, or name fewer devices in deviceIds`,
  );
}

function notesOf(
  { draft, from, deviceIds: named }: BacktestRequest,
  chosen: readonly string[],
  taken: readonly string[],
): string[] {
  const start = formatMicros(from);
  const isSilence = isNoData(draft);
  const order = isSilence
    ? 'Arrival times are not stored: silence is judged by the gaps between the times of ' +
      'readings. Live it is judged by arrival, so data that came late fired there and not here.'
    : 'Readings are taken in the order of their times. Where data came late, live evaluation ' +
      'differed: it left out what was older than what it had seen.';
  const begin = isSilence
    ? `A silence that began before ${start} counts from there.`
    : `Nothing before ${start} is looked at: what held there already counts from there.`;
  const notes = [order, begin];
  const notCovered = chosen.length - taken.length;
  if (notCovered > 0) {
    const glob = JSON.stringify(draft.devices);
    notes.push(`${notCovered} devices are left out: ${glob} does not match them.`);
  }
  const existing = new Set(chosen);
  const unknown = named?.findIndex((id) => !existing.has(id)) ?? -1;
  if (unknown >= 0) notes.push(`deviceIds.${unknown}: there is no such device.`);
  return notes;
}
