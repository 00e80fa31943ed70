import postgres from 'postgres';
import { parseJson } from '../domain/json.ts';
import { formatMicros, type Micros, parseRfc3339 } from '../domain/time.ts';
import { socketFactory, type TlsMode } from './database-socket.ts';
import { PADDING } from './startup-message.ts';

interface ExtraTypes extends Record<string, unknown> {
  date: Micros;
  bigint: number;
}
export type Sql = postgres.Sql<ExtraTypes>;
export type TransactionSql = postgres.TransactionSql<ExtraTypes>;

export interface ConnectOptions {
  /** Connections in the pool; default 10. */
  max?: number;
  /** Shown in pg_stat_activity. */
  applicationName?: string;
  /** Never renews a connection by itself (every half hour to an hour): for what a session holds. */
  keepSession?: boolean;
  /**
   * Gives a connection up where the server is silent for so long while it owes an answer: what was
   * asked rejects with the code DEADLINE, and the pool opens another. By the client's clock, as a
   * server that hangs or is cut off keeps none, and a pooler passes no `statement_timeout` on.
   */
  answerWithinMs?: number;
  /** Called with each notification that a LISTEN on one of its connections brings in. */
  onNotify?: (channel: string, payload: string) => void;
}

/**
 * A pool on which timestamptz is integer microseconds and bigint a number both ways, and jsonb
 * keeps its numbers to the digit. Works behind a transaction pooler: nothing is prepared by name.
 */
export function connect(url: string, options: ConnectOptions = {}): Sql {
  // Our sockets do TLS themselves, as the URL says; this pool is never used and opens nothing.
  const mode = postgres(url).options.ssl as TlsMode;
  const { answerWithinMs = null } = options;
  const sql = postgres(url, {
    ssl: false,
    ...({ socket: socketFactory({ mode, answerWithinMs }) } as object),
    max: options.max ?? 10,
    prepare: false,
    fetch_types: false,
    connect_timeout: 10,
    ...(options.keepSession ? { max_lifetime: null } : {}),
    onnotice: () => {},
    ...(options.onNotify ? ({ onnotify: options.onNotify } as object) : {}),
    connection: {
      ...PADDING,
      application_name: options.applicationName ?? 'pulsegraph',
      standard_conforming_strings: 'on',
    },
    types: {
      // Named as the library's own type, so that it replaces it.
      date: {
        to: 1184,
        from: [1184],
        serialize: (micros: Micros | string) =>
          typeof micros === 'number' ? formatMicros(micros) : micros,
        parse: parseTimestamp,
      },
      bigint: {
        to: 20,
        from: [20],
        serialize: (value: number) => String(value),
        parse: (text: string) => Number(text),
      },
      json: {
        to: 114,
        from: [114, 3802],
        serialize: (value: unknown) => JSON.stringify(value),
        parse: parseJson,
      },
    },
  }) as unknown as Sql;
  return oneAtATime(sql);
}

/**
 * Keeps the client from sending a statement behind another on the same connection, as it does with
 * those that have no parameters. PgBouncer gives the server connection away at the answer to the
 * first while the second is on its way, and that one then waits for ever. Statements of a
 * transaction keep their server connection, and are not touched.
 */
function oneAtATime(sql: Sql): Sql {
  const alone = <T>(query: T): T => {
    const { execute, options } = query as { execute?: unknown; options?: QueryOptions };
    // Called when it was sent: false says that the connection can take no more.
    if (typeof execute === 'function' && options) options.onexecute ??= () => false;
    return query;
  };
  return new Proxy(sql, {
    apply: (target, self, args) => alone(Reflect.apply(target, self, args)),
    get: (target, name) =>
      name === 'unsafe'
        ? (...args: Parameters<Sql['unsafe']>) => alone(target.unsafe(...args))
        : Reflect.get(target, name),
  });
}

interface QueryOptions {
  onexecute?: () => boolean;
}

/** Postgres writes `2014-01-07 02:55:00.5+00`; the hour-only zone is not RFC 3339 yet. */
function parseTimestamp(text: string): Micros {
  if (text.endsWith('+00')) {
    const usual = parseRfc3339(`${text.slice(0, 10)}T${text.slice(11, -3)}Z`);
    if (usual !== null) return usual;
  }
  const withMinutes = /[+-]\d\d$/.test(text) ? `${text}:00` : text;
  const micros = parseRfc3339(withMinutes);
  if (micros === null) throw new Error(`unreadable timestamptz from Postgres: ${text}`);
  return micros;
}
