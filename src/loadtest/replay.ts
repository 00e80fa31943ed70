import { readFileSync } from 'node:fs';
import type { Model } from '../domain/model.ts';
import { MICROS_PER_SECOND } from '../domain/time.ts';
import { type Api, checkReachable, createApi, messageOf } from './api.ts';
import { nowMicros } from './clock.ts';
import { hasLastRow } from './last-row.ts';
import { createLedger, type Ledger } from './ledger.ts';
import type { ReplayOptions } from './options.ts';
import { createPacer } from './pacer.ts';
import type { Progress } from './progress.ts';
import {
  type DeadLetter,
  deadLettersOf,
  ingestLag,
  storedAlerts,
  storedReadings,
} from './queries.ts';
import { type RecordedRow, type Recording, RecordingError, readRecording } from './recording.ts';
import { episodesInFile, lateRows, numberRules } from './replay-expectation.ts';
import { type RuleSet, rulesOf, setRules } from './rule-queries.ts';
import { createSender, type Sender } from './sender.ts';
import { settle } from './settle.ts';
import { createSimulation, type Simulation } from './simulation.ts';
import {
  type AlertVerdict,
  compareAlerts,
  compareReadings,
  type StoredAlert,
  type StoredReading,
} from './verdict.ts';

export interface ReplayResult {
  file: string;
  userId: string;
  deviceId: string;
  publishSeconds: number;
  interrupted: boolean;
  reconnects: number;
  malformed: Recording['malformed'];
  rows: {
    inFile: number;
    late: number;
    sent: number;
    acknowledged: number;
    alreadyStored: number;
    newlyStored: number;
    stored: number;
    /** Row numbers, as those below. */
    lost: number[];
    duplicated: number[];
    /** Stored for this device with another time or number than the file's. */
    foreign: number[];
    /** Refused by the server, by this replay's count; their rows make no alert. */
    deadLetters: string[];
  };
  rules: string[];
  alerts: AlertVerdict & { alreadyStored: number; newlyStored: number };
  unsettled: string[];
}

const RULES_IN_FORCE_MS = 1_250;
const TICK_MS = 1;
const MAX_SKEW = 300 * MICROS_PER_SECOND;

/** Plays a file as one device, in order, and compares what is stored with what the file says. */
export async function runReplay(
  given: ReplayOptions & { model: Model },
  { progress, stopped }: { progress: Progress; stopped: AbortSignal },
): Promise<ReplayResult> {
  const simulation = createSimulation(given.model);
  if (!simulation.hasSequence) {
    throw new RecordingError(
      `--replay: readings of "${given.model.table}" have no sequence id, by which rows are told apart`,
    );
  }
  const options = { ...given, userId: simulation.owner ?? given.userId };
  const recording = readRecording(readFile(options.file), {
    ...options,
    latest: nowMicros() + MAX_SKEW,
  });
  const { rows } = recording;
  if (rows.length === 0) throw new RecordingError(`${options.file}: no row can be published`);
  await checkReachable(options);
  const api = createApi(options);
  const ledger = createLedger(rows.length);
  let status = 'looking at what is stored';
  progress.start(() => status);
  let sender: Sender | null = null;
  try {
    const ruleSet = await prepareRules(api, options, simulation);
    const before = await stored(api, options, simulation);
    const clientId = `replay-${options.userId}-${options.deviceId}`;
    sender = await createSender({ ...options, clientId });
    const startMs = performance.now();
    progress.start(
      () =>
        `sent ${ledger.published}/${rows.length}  acknowledged ${ledger.acknowledged}  ` +
        `in flight ${sender?.inFlight}  reconnects ${sender?.reconnects}`,
    );
    await publish({ rows, ledger, sender, options, simulation, stopped });
    const publishSeconds = (performance.now() - startMs) / 1000;
    progress.start(() => status);
    const at = { api, simulation, device: options, rows, ledger };
    const unsettled = await settle({
      checks: [
        { name: 'acknowledgements', pending: () => sender?.inFlight ?? 0 },
        { name: 'accepted messages to be stored', pending: () => ingestLag(api) },
        { name: 'last row', pending: async () => ((await hasLastRow(at)) ? 0 : 1) },
      ],
      timeoutMs: options.settleSeconds * 1000,
      onWaiting: (text) => {
        status = `settling: waiting for ${text}`;
      },
    });
    status = 'listing what is stored';
    const after = await stored(api, options, simulation);
    return {
      file: options.file,
      userId: options.userId,
      deviceId: options.deviceId,
      publishSeconds,
      interrupted: stopped.aborted,
      reconnects: sender.reconnects,
      malformed: recording.malformed,
      ...judge({ options, simulation, rows, ledger, ruleSet, before, after }),
      unsettled,
    };
  } finally {
    progress.stop();
    await sender?.close();
  }
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new RecordingError(`--replay ${file}: ${messageOf(error)}`);
  }
}

async function prepareRules(
  api: Api,
  { userId, rules }: ReplayOptions,
  { shorthands }: Simulation,
): Promise<RuleSet | null> {
  if (rules.length > 0) {
    await setRules(api, { userId, rules });
    await Bun.sleep(RULES_IN_FORCE_MS);
  }
  return await rulesOf(api, userId, Object.keys(shorthands));
}

interface Stored {
  readings: StoredReading[];
  alerts: StoredAlert[];
  deadLetters: DeadLetter[];
}

async function stored(
  api: Api,
  { userId, deviceId }: ReplayOptions,
  simulation: Simulation,
): Promise<Stored> {
  const readings = await storedReadings(api, { userId, deviceId }, simulation);
  const alerts = await storedAlerts(api, userId);
  const deadLetters = await deadLettersOf(api, simulation.topic({ userId, deviceId }));
  return { readings, alerts: alerts.filter((alert) => alert.deviceId === deviceId), deadLetters };
}

async function publish(at: {
  rows: readonly RecordedRow[];
  ledger: Ledger;
  sender: Sender;
  options: ReplayOptions;
  simulation: Simulation;
  stopped: AbortSignal;
}): Promise<void> {
  const { rows, ledger, sender, options, simulation, stopped } = at;
  const topic = simulation.topic(options);
  const { rate } = options;
  const startMs = performance.now();
  const pacer = createPacer({
    startMs,
    rate,
    total: rows.length,
    maxBehind: Math.max(1, Math.ceil(2 * rate)),
  });
  let lastProgressMs = startMs;
  while (ledger.published < rows.length && !stopped.aborted) {
    const nowMs = performance.now();
    if (sender.hasRoom()) lastProgressMs = nowMs;
    if (nowMs - lastProgressMs > options.patienceSeconds * 1000) return;
    for (let due = pacer.due(nowMs, ledger.published); due > 0 && sender.hasRoom(); due--) {
      const row = rows[ledger.published] as RecordedRow;
      const position = ledger.publish(row.time);
      sender.send(topic, simulation.encode(row.time, row.sequenceId, row.fields), () => {
        ledger.acknowledge(position);
      });
    }
    await Bun.sleep(TICK_MS);
  }
}

function judge(at: {
  options: ReplayOptions;
  simulation: Simulation;
  rows: readonly RecordedRow[];
  ledger: Ledger;
  ruleSet: RuleSet | null;
  before: Stored;
  after: Stored;
}): Pick<ReplayResult, 'rows' | 'rules' | 'alerts'> {
  const { options, ledger, before, after } = at;
  const rows = at.rows.slice(0, ledger.published);
  // The ledger counts what was published, the file may have gaps: malformed rows.
  const positions = new Map(rows.map((row, index) => [row.sequenceId, index + 1]));
  const located = (readings: readonly StoredReading[]) =>
    readings.map(({ sequenceId, time }) => ({
      sequenceId: positions.get(sequenceId ?? 0) ?? 0,
      time,
    }));
  const numbers = (found: number[]) => found.map((at) => rows[at - 1]?.sequenceId ?? 0);
  const refused = new Set(after.deadLetters.map(({ sequenceId }) => sequenceId));
  const judged = rows.filter((row) => !refused.has(row.sequenceId));
  const deadLettered = new Set([...refused].map((id) => positions.get(id ?? 0) ?? 0));
  const readings = compareReadings(ledger, located(after.readings), deadLettered);
  const rules = numberRules(at.ruleSet ?? { shorthands: {}, rules: [] }, at.simulation.shorthands);
  const complete = ledger.acknowledgedUpTo === ledger.published;
  const expected = rules.flatMap((rule) => episodesInFile(judged, rule, options));
  const fromFile = within(rows, new Set(rules.map((rule) => rule.ruleId)));
  const alerts = compareAlerts(
    { required: complete ? expected : [], possible: complete ? [] : expected },
    after.alerts.filter(fromFile),
  );
  const known = new Set(before.alerts.map((alert) => alert.id));
  return {
    rows: {
      inFile: at.rows.length,
      late: lateRows(judged),
      sent: ledger.published,
      acknowledged: ledger.acknowledged,
      alreadyStored: compareReadings(ledger, located(before.readings)).stored,
      newlyStored: after.readings.length - before.readings.length,
      stored: readings.stored,
      lost: numbers(readings.lost),
      duplicated: numbers(readings.duplicated),
      foreign: numbers(readings.foreign),
      deadLetters: after.deadLetters
        .slice(0, after.deadLetters.length - before.deadLetters.length)
        .map(({ reason, sequenceId }) => `row ${sequenceId}: ${reason}`),
    },
    rules: rules.map(
      ({ ruleId, key, operator, threshold }) => `${ruleId}: ${key} ${operator} ${threshold}`,
    ),
    alerts: {
      ...alerts,
      alreadyStored: before.alerts.length,
      newlyStored: after.alerts.filter((alert) => !known.has(alert.id)).length,
    },
  };
}

/** Alerts of the judged rules that began in the file's span of time: others are not of it. */
function within(rows: readonly RecordedRow[], ruleIds: ReadonlySet<string>) {
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const { time } of rows) {
    first = Math.min(first, time);
    last = Math.max(last, time);
  }
  return ({ ruleId, startedAt }: StoredAlert) =>
    ruleIds.has(ruleId) && startedAt >= first && startedAt <= last;
}
