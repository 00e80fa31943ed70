import type { Logger } from 'pino';
import type { LogAppender } from '../domain/log.ts';
import type { Model } from '../domain/model.ts';
import type { Decode } from '../engine/decode.ts';
import type { IngestWatch } from '../engine/ingest-watch.ts';
import type { ReadingFeed } from '../engine/reading-feed.ts';
import type { RuleBook } from '../engine/rule-book.ts';
import type { EngineStatus } from '../engine/status.ts';
import type { Tracer } from '../engine/tracer.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import { boundedSql } from '../store/bounded-sql.ts';
import type { Sql } from '../store/connection.ts';
import { apiError } from './errors.ts';
import type { Pace } from './pace.ts';
import type { PresentAlerts } from './present-alerts.ts';
import { sharedBySubscribers } from './shared-by-subscribers.ts';

/** Who asks. An operator sees everything, a user what is theirs, a device itself. */
export type Viewer =
  | { kind: 'operator' }
  | { kind: 'user'; userId: string }
  | { kind: 'device'; userId: string; deviceId: string };

/** What the resolvers work on; the same for all requests. */
export interface SchemaDeps {
  sql: Sql;
  model: Model;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  tail: AlertEventTail;
  feed: ReadingFeed;
  rules: Pick<RuleBook, 'poke'>;
  engineStatus: () => EngineStatus;
  ingest: Pick<IngestWatch, 'partitions'>;
  /** The way into the log, and what is made of a record that comes out of it. */
  appender: LogAppender;
  decode: Decode;
  /** Where messages are followed. */
  tracer?: Pick<Tracer, 'delivered'> | undefined;
  /** How many subscriptions are open in this process. */
  subscriptions: { open: number };
}

/** How a request came, as far as it bounds what it may do. */
export interface Door {
  /** Names the request in the log, and in answers that speak of it. */
  requestId: string;
  /** When the caller's token ends, epoch ms; null where it never does, or the door sees to it. */
  expiresAtMs: number | null;
  /** Taken by each event stream over HTTP; null where the door counts by itself. */
  streams: StreamSlots | null;
  /** Null: for ever. */
  timeoutMs: number | null;
  /**
   * Takes the answers to a subscription's events, as JSON, in order: they go past the layers of the
   * protocol, and only the end goes through them. Where it returns a promise, the next waits for it.
   * Null where they are yielded.
   */
  push: Push | null;
}

export type Push = (answer: string) => void | Promise<void>;

/** Event streams that may be open at once. */
export interface StreamSlots {
  /** @throws UNAVAILABLE where none is free */
  take(): void;
  giveBack(): void;
}

/** One request, or one subscription for as long as it lasts. */
export interface Context extends SchemaDeps {
  viewer: Viewer;
  requestId: string;
  door: Door;
  /** When its time is over, by `performance.now()`. A subscription's never is: see `sql`. */
  deadline: { atMs: number };
  /** The request's loaders by their definition; see request-loader.ts. */
  loaders: Map<object, unknown>;
  /** What subscribers share. */
  presentAlerts: PresentAlerts;
  pace: Pace;
}

const UNBOUNDED: Door = {
  requestId: '',
  expiresAtMs: null,
  streams: null,
  timeoutMs: null,
  push: null,
};

/**
 * Its `sql` cancels in the server what is not done by the deadline, and any one statement that takes
 * as long as a whole request may.
 */
export function createContext(deps: SchemaDeps, viewer: Viewer, door: Door = UNBOUNDED): Context {
  const { requestId, timeoutMs } = door;
  const deadline = { atMs: performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY) };
  const context = {
    ...deps,
    ...sharedBySubscribers(deps),
    viewer,
    requestId,
    door,
    deadline,
    loaders: new Map(),
  };
  if (timeoutMs === null) return context;
  const bound = {
    leftMs: () => Math.min(timeoutMs, deadline.atMs - performance.now()),
    late: () => tooLate(timeoutMs),
  };
  return { ...context, sql: boundedSql(deps.sql, bound) };
}

function tooLate(timeoutMs: number): Error {
  return apiError(
    'TOO_EXPENSIVE',
    `not done within the ${timeoutMs / 1_000} s of a request: ask for a shorter range, fewer ` +
      'devices or smaller pages, or in several requests',
  );
}
