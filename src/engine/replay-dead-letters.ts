import type { Logger } from 'pino';
import { isJsonObject, parseJson } from '../domain/json.ts';
import type { LogAppender, LogMessage } from '../domain/log.ts';
import type { Model } from '../domain/model.ts';
import { compileTopic, deviceKey } from '../domain/topic.ts';
import type { Sql, TransactionSql } from '../store/connection.ts';
import { setLocalTimeouts } from '../store/local-timeouts.ts';
import {
  lockReplayable,
  markReplayed,
  newestDeadLetter,
  type ReplayableDeadLetter,
  type ReplayChoice,
} from '../store/replayable-dead-letters.ts';
import { withDeadline } from './retry.ts';

export interface ReplayResult {
  /** Dead letters that were chosen. */
  matched: number;
  /** Of them, those that the log has taken: what is still wrong becomes a new dead letter. */
  replayed: number;
  failed: number;
  /** Why the first of the failed ones is not in the log. */
  problem: string | null;
  /** Whether the replay stopped at its bound, and there may be more. */
  more: boolean;
}

/** Puts dead letters back into the log. @param actor by whom, for the record */
export type ReplayDeadLetters = (choice: ReplayChoice, actor: string) => Promise<ReplayResult>;

const MAX_LETTERS = 10_000;
/** Past it no further piece is begun. */
const BUDGET_MS = 15_000;
const PIECE = 100;
const PIECE_BYTES = 8 * 2 ** 20;
/** Within the timeout of the transaction that holds the rows. */
const APPEND_DEADLINE_MS = 10_000;

/**
 * In pieces: each locks its rows, appends what was sent under its own topic and key, and marks what
 * is durable, so that no two replays put back the same one. A crash between leaves a piece unmarked:
 * it is replayed again, and a reading that is stored already is not stored twice.
 */
export function createDeadLetterReplay(deps: {
  sql: Sql;
  appender: LogAppender;
  model: Model;
  logger: Pick<Logger, 'info'>;
}): ReplayDeadLetters {
  const { sql, appender, logger } = deps;
  const telemetry = compileTopic(deps.model);

  /** @throws Error where its bytes are no longer all there, or the log does not take it */
  async function putBack(letter: ReplayableDeadLetter): Promise<void> {
    if (!isWhole(letter)) throw new Error('only the beginning of its payload was kept');
    await appender.append(original(letter));
  }

  function original({ topic, key, payload }: ReplayableDeadLetter): LogMessage {
    const names = topic === null ? null : telemetry.match(topic);
    const isEnvelope = topic === null || isEnvelopeOf(topic, payload);
    return {
      topic: isEnvelope ? '' : topic,
      key: key ?? (names && deviceKey(names)),
      value: payload,
    };
  }

  async function piece(
    tx: TransactionSql,
    choice: ReplayChoice,
    { after, upTo, limit, actor }: { after: number; upTo: number; limit: number; actor: string },
  ): Promise<{ last: number; replayed: number; failures: string[] }> {
    await setLocalTimeouts(tx);
    const page = { after, upTo, limit, maxBytes: PIECE_BYTES };
    const letters = await lockReplayable(tx, choice, page);
    const what = 'the append to the log';
    const appends = letters.map((letter) =>
      withDeadline(putBack(letter), APPEND_DEADLINE_MS, what),
    );
    const outcomes = await Promise.allSettled(appends);
    const isDone = (_: unknown, index: number) => outcomes[index]?.status === 'fulfilled';
    const done = letters.filter(isDone).map(({ id }) => id);
    if (done.length > 0) await markReplayed(tx, done, actor);
    const failures = outcomes
      .filter((outcome) => outcome.status === 'rejected')
      .map(({ reason }) => (reason as Error).message);
    return { last: letters.at(-1)?.id ?? upTo, replayed: done.length, failures };
  }

  return async (choice, actor) => {
    const result: ReplayResult = { matched: 0, replayed: 0, failed: 0, problem: null, more: false };
    const upTo = await newestDeadLetter(sql);
    const endMs = performance.now() + BUDGET_MS;
    for (let after = 0; after < upTo; ) {
      const limit = Math.min(PIECE, MAX_LETTERS - result.matched);
      const bounds = { after, upTo, limit, actor };
      const work = (tx: unknown) => piece(tx as TransactionSql, choice, bounds);
      const { last, replayed, failures } = await sql.begin(work);
      result.replayed += replayed;
      result.failed += failures.length;
      result.matched = result.replayed + result.failed;
      result.problem ??= failures[0] ?? null;
      after = last;
      // A log that takes nothing of a whole piece is not asked ten thousand times.
      const isStuck = replayed === 0 && failures.length === PIECE;
      const isEnough = result.matched >= MAX_LETTERS || performance.now() > endMs;
      result.more = after < upTo && (isStuck || isEnough);
      if (result.more) break;
    }
    logger.info({ ...choice, ...result, actor }, 'dead letters were put back into the log');
    return result;
  };
}

/** Of what a broker or log refused for its size, a dead letter has the size and the first bytes. */
function isWhole({ reason, detail, payload }: ReplayableDeadLetter): boolean {
  if (reason !== 'TOO_LARGE') return true;
  return Number(/(\d+) bytes/.exec(detail)?.[1]) === payload.length;
}

/** Whether the record named its topic in its value, and had none beside it. */
function isEnvelopeOf(topic: string, payload: Uint8Array): boolean {
  try {
    const value = parseJson(new TextDecoder().decode(payload));
    return isJsonObject(value) && value.topic === topic && value.payload !== undefined;
  } catch {
    return false;
  }
}
