import type { Sql } from './connection.ts';

export interface Bound {
  /** Milliseconds that a statement which begins now may take; none left: it is not sent. */
  leftMs: () => number;
  /** What a statement that is over its time rejects with. */
  late: () => Error;
}

/** What the client's statements have, by its source; a fragment of another one is never sent. */
interface Statement {
  handler: (statement: Statement) => void;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  /** Its `cancel` calls this, and keeps the promise to itself. */
  canceller: (statement: Statement) => Promise<void>;
}

/**
 * The pool for somebody who does not wait for ever: a statement over its time is cancelled in the
 * server, waiting for a lock or for its turn here included. Transactions bound themselves.
 */
export function boundedSql(sql: Sql, bound: Bound): Sql {
  const watched = <T>(made: T): T => {
    const statement = made as Partial<Statement> | null;
    if (typeof statement?.handler === 'function') watch(statement as Statement, bound);
    return made;
  };
  return new Proxy(sql, {
    apply: (target, self, args) => watched(Reflect.apply(target, self, args)),
    get: (target, name) =>
      name === 'unsafe'
        ? (...args: Parameters<Sql['unsafe']>) => watched(target.unsafe(...args))
        : Reflect.get(target, name),
  });
}

function watch(statement: Statement, { leftMs, late }: Bound): void {
  const { handler, resolve, reject } = statement;
  // Called when somebody waits for it.
  statement.handler = (sent) => {
    const left = leftMs();
    if (left <= 0) return reject(late());
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      // The server hangs up on this connection, which is an error to the client. Where it can't be
      // made, the silence of the statement's own ends the statement.
      statement.canceller(statement).catch(() => {});
    }, left);
    statement.resolve = (value) => {
      clearTimeout(timer);
      resolve(value);
    };
    statement.reject = (error) => {
      clearTimeout(timer);
      reject(isLate ? late() : error);
    };
    handler(sent);
  };
}
