import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import type { ReadingFeed } from '../engine/reading-feed.ts';
import type { RuleBook } from '../engine/rule-book.ts';
import type { EngineStatus } from '../engine/status.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Sql } from '../store/connection.ts';

/** Who asks. An operator sees everything, a user only what is theirs. */
export type Viewer = { kind: 'operator' } | { kind: 'user'; userId: string };

/** What the resolvers work on; the same for all requests. */
export interface SchemaDeps {
  sql: Sql;
  model: Model;
  logger: Pick<Logger, 'warn' | 'error'>;
  tail: AlertEventTail;
  feed: ReadingFeed;
  rules: Pick<RuleBook, 'poke'>;
  engineStatus: () => EngineStatus;
}

/** One request, or one subscription for as long as it lasts. */
export interface Context extends SchemaDeps {
  viewer: Viewer;
  /** The request's loaders by their definition; see request-loader.ts. */
  loaders: Map<object, unknown>;
}

export function createContext(deps: SchemaDeps, viewer: Viewer): Context {
  return { ...deps, viewer, loaders: new Map() };
}
