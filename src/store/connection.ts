import postgres from 'postgres';
import { parseJson } from '../domain/json.ts';
import { formatMicros, type Micros, parseRfc3339 } from '../domain/time.ts';

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
}

/**
 * A pool on which timestamptz is integer microseconds and bigint a number both ways, and jsonb
 * keeps its numbers to the digit. Works behind a transaction pooler: nothing is prepared by name.
 */
export function connect(url: string, options: ConnectOptions = {}): Sql {
  return postgres(url, {
    max: options.max ?? 10,
    prepare: false,
    fetch_types: false,
    connect_timeout: 10,
    ...(options.keepSession ? { max_lifetime: null } : {}),
    onnotice: () => {},
    connection: { application_name: options.applicationName ?? 'pulsegraph' },
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
}

/** Postgres writes `2014-01-07 02:55:00.5+00`; the hour-only zone is not RFC 3339 yet. */
function parseTimestamp(text: string): Micros {
  const withMinutes = /[+-]\d\d$/.test(text) ? `${text}:00` : text;
  const micros = parseRfc3339(withMinutes);
  if (micros === null) throw new Error(`unreadable timestamptz from Postgres: ${text}`);
  return micros;
}
