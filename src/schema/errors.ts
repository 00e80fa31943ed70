import { GraphQLError } from 'graphql';
import type { Logger } from 'pino';
import type { Issue } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import { failureKind } from '../store/failure.ts';

export type ErrorCode =
  | 'BAD_USER_INPUT'
  | 'UNAUTHENTICATED'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'OUT_OF_RANGE'
  | 'CONFLICT'
  | 'TOO_EXPENSIVE'
  | 'UNAVAILABLE';

const CODES: readonly unknown[] = [
  'BAD_USER_INPUT',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'NOT_FOUND',
  'OUT_OF_RANGE',
  'CONFLICT',
  'TOO_EXPENSIVE',
  'UNAVAILABLE',
  // A bug: made below and nowhere else.
  'INTERNAL_SERVER_ERROR',
] satisfies (ErrorCode | 'INTERNAL_SERVER_ERROR')[];

/** An error that is meant for the caller. `message` says what was wrong and what to do. */
export function apiError(
  code: ErrorCode,
  message: string,
  extensions: Record<string, unknown> = {},
): GraphQLError {
  return new GraphQLError(message, { extensions: { code, ...extensions } });
}

/** What a subscription ends with when its token does. */
export function tokenExpired(): GraphQLError {
  return apiError('UNAUTHENTICATED', 'the token has expired: subscribe again with a new one');
}

/** BAD_USER_INPUT with one issue for each fault. */
export function badUserInput(issues: readonly Issue[]): GraphQLError {
  const message = issues.map((issue) => [issue.path, issue.message].filter(Boolean).join(': '));
  return apiError('BAD_USER_INPUT', message.join('; '), { issues });
}

export function badArgument(path: string, message: string): GraphQLError {
  return badUserInput([{ path, message }]);
}

/** @throws BAD_USER_INPUT for a half-open range that nothing can be in; an end left out is open */
export function checkRange(from: Micros | null | undefined, to: Micros | null | undefined): void {
  if (from != null && to != null && to <= from) {
    throw badArgument('to', 'has to be later than from');
  }
}

/** What is said of a request in the log. */
export interface Reporter {
  logger: Pick<Logger, 'warn' | 'error'>;
  requestId: string;
}

/**
 * What the caller gets to see of an error. Ours and GraphQL's own refusals of a request pass, with
 * a code; an outage becomes UNAVAILABLE; all else is a bug. Of these two the log has a line, and the
 * caller the `requestId` to find it by.
 */
export function publicError(error: unknown, { logger, requestId }: Reporter): GraphQLError {
  const outer = error instanceof GraphQLError ? error : null;
  if (outer !== null && CODES.includes(outer.extensions.code)) return outer;
  let cause: unknown = error;
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError;
  const at = outer === null ? {} : { nodes: outer.nodes, path: outer.path, source: outer.source };
  // Yoga takes the status of the response from there, and leaves it out of the response.
  // What is no GraphQL request at all is 4xx in any media type, where a faulty document may be 200.
  const isNoRequest = outer?.extensions.code === 'BAD_REQUEST';
  const asked = outer?.extensions.http;
  const given = isNoRequest ? { ...(asked as object), spec: false } : asked;
  const http = given === undefined ? {} : { http: given };
  const as = (message: string, code: string, more: object = {}) =>
    new GraphQLError(message, { ...at, extensions: { ...http, ...more, code } });
  if (cause instanceof GraphQLError) {
    if (CODES.includes(cause.extensions.code)) {
      return as(cause.message, cause.extensions.code as string, cause.extensions);
    }
    // Without a path nothing was executed: the document or its variables were refused.
    if (outer?.path === undefined) {
      const message = outer?.message ?? cause.message;
      return as(message, 'BAD_USER_INPUT', { issues: [{ path: '', message }] });
    }
  }
  switch (failureKind(cause)) {
    case 'outage':
      logger.warn({ err: cause, path: outer?.path, requestId }, 'GraphQL: UNAVAILABLE');
      return as('the database does not answer; try again in a moment', 'UNAVAILABLE', {
        requestId,
      });
    case 'row': {
      const message = 'a value is beyond what the database can hold, or holds a NUL character';
      return as(message, 'BAD_USER_INPUT', { issues: [{ path: '', message }] });
    }
    case 'bug':
      logger.error({ err: cause, path: outer?.path, requestId }, 'GraphQL: unexpected error');
      return as(
        'unexpected error; the log of the server has more, under this requestId',
        'INTERNAL_SERVER_ERROR',
        { requestId },
      );
  }
}

/** A result with what the caller gets to see of its errors. */
export function cleaned<T extends { errors?: readonly unknown[] }>(
  result: T,
  reporter: Reporter,
): T {
  if (result.errors === undefined) return result;
  return { ...result, errors: result.errors.map((error) => publicError(error, reporter)) };
}
