import type { AlertEvent, Held, Transition } from '../domain/alert.ts';
import type { Model } from '../domain/model.ts';
import { formatMicros } from '../domain/time.ts';
import type { AlertEventRow } from './alert-event-columns.ts';
import { alertEventsOf, appendStatement } from './append-alert-events.ts';
import { BATCH_REFUSED } from './batch-functions.ts';
import type { Sql } from './connection.ts';
import type { StoredReading } from './copy-readings.ts';
import type { DeviceState } from './device-state.ts';
import { errorCode, failureKind } from './failure.ts';
import { insertStatement } from './insert-readings.ts';
import { literal } from './literal.ts';
import { localTimeouts, STATEMENT_TIMEOUT_MS } from './local-timeouts.ts';
import { RULES_LOCK_TIMEOUT_MS } from './lock-rule-versions.ts';
import { PLAN_BY_INDEX } from './plan-by-index.ts';
import type { PointTypes } from './point-columns.ts';
import { saveStatesStatement } from './save-states-statement.ts';
import { textArray } from './text-array.ts';
import type { LogPartition, Watermark } from './watermark.ts';
import { alertsStatement, eventOf } from './write-alerts.ts';

/** What a transaction of a lane writes, where nothing about it is out of the ordinary. */
export interface SmallBatch {
  log: LogPartition;
  /** Where the lane left the watermark, and where the batch takes it: further. */
  from: Watermark;
  to: Watermark;
  readings: readonly StoredReading[];
  states: readonly DeviceState[];
  transitions: readonly Transition[];
  held: readonly Held[];
  /** The versions of the rules that must be in force, by user. */
  ruleVersions: ReadonlyMap<string, number>;
}

/** The longest that its statements, and their waits for locks and for those of rules, may take. */
export interface Patience {
  statementMs: number;
  lockMs: number;
  rulesMs: number;
}

/** What a batch that is written alone has. */
const LONG: Patience = {
  statementMs: STATEMENT_TIMEOUT_MS,
  lockMs: STATEMENT_TIMEOUT_MS,
  rulesMs: RULES_LOCK_TIMEOUT_MS,
};

/**
 * Writes small batches of different partitions in one message, and so in one transaction that ends
 * with it: no round trip is between its locks, the one of `seq` above all, and its end. Of 8 readings
 * and a transition 0.5 ms of the client's CPU and 1.5 of the server's, where statements one by one and
 * a COPY take 1.6 and 3.3. The readings are inserted, which costs more a row than COPY.
 *
 * @returns the events that are committed; null where the server refuses the batch: nothing of it is
 *   written, and going the long way tells why
 * @throws what else the database throws, after which it may be committed or not
 */
export async function writeAtOnce(
  sql: Sql,
  batches: readonly SmallBatch[],
  how: { model: Model; points: PointTypes; patience?: Patience },
): Promise<AlertEvent[] | null> {
  const { model, points, patience = LONG } = how;
  const readings = batches.flatMap((batch) => batch.readings);
  const states = batches.flatMap((batch) => batch.states);
  const transitions = batches.flatMap((batch) => batch.transitions);
  const held = batches.flatMap((batch) => batch.held);
  const statements = [
    // LOCAL to the transaction that a message of several statements is.
    localTimeouts(patience.statementMs, patience.lockMs),
    PLAN_BY_INDEX,
    beginStatement(batches, patience),
    states.length > 0 && saveStatesStatement(states),
    alertsStatement(transitions, held),
    readings.length > 0 && insertStatement(model, readings, points),
    transitions.length > 0 && appendStatement(transitions.map(eventOf)),
  ];
  const message = statements.filter(Boolean).join(';\n');
  try {
    const answers = await sql.unsafe(message);
    if (transitions.length === 0) return [];
    return alertEventsOf(answers.at(-1) as unknown as AlertEventRow[]);
  } catch (error) {
    if (isRefusal(error)) return null;
    throw error;
  }
}

/** One function behind the other, in the order of the partitions, which all writers keep. */
function beginStatement(batches: readonly SmallBatch[], { rulesMs }: Patience): string {
  const inOrder = [...batches].sort((a, b) => a.log.partition - b.log.partition);
  return `SELECT ${inOrder.map((batch) => beginCall(batch, rulesMs)).join(', ')}`;
}

function beginCall(
  { log, from, to, readings, ruleVersions }: SmallBatch,
  rulesTimeoutMs: number,
): string {
  const times = readings.map(({ reading }) => reading.time);
  const oldest = times.length === 0 ? 'NULL' : literal(formatMicros(Math.min(...times)));
  return `pulsegraph_begin_batch(${literal(log.logId)}, ${literal(log.topic)},
    ${log.partition}, ${from.offset}, ${to.offset}, ${literal(formatMicros(to.coveredAt))},
    ${literal(formatMicros(to.flowingSince))}, ${oldest},
    ${literal(textArray([...ruleVersions.keys()]))}, '{${[...ruleVersions.values()].join(',')}}',
    '${rulesTimeoutMs}')`;
}

/** lock_not_available: somebody holds the rules, or worse. */
const LOCKED = '55P03';

function isRefusal(error: unknown): boolean {
  const code = errorCode(error);
  return code === BATCH_REFUSED || code === LOCKED || failureKind(error) === 'row';
}
