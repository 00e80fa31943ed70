/**
 * What to do about an error of the database: isolate the row that it refuses, wait and try again,
 * or stop, because it is neither and going on could lose data.
 */
export type FailureKind = 'row' | 'outage' | 'bug';

/** Data exception, integrity constraint violation, program limit exceeded. */
const ROW_CLASSES = new Set(['22', '23', '54']);
/** Connection, rollback (deadlock), resources, object state (locks), operator, system. */
const OUTAGE_CLASSES = new Set(['08', '40', '53', '55', '57', '58']);
/** The client's own codes for a connection that could not be had or was lost. */
const OUTAGE_CODES = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'DEADLINE',
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  // idle_in_transaction_session_timeout: the server ended the session.
  '25P03',
]);

export function failureKind(error: unknown): FailureKind {
  const code = errorCode(error);
  if (code === null) return 'bug';
  if (OUTAGE_CODES.has(code)) return 'outage';
  if (!/^[0-9A-Z]{5}$/.test(code)) return 'bug';
  const sqlClass = code.slice(0, 2);
  return ROW_CLASSES.has(sqlClass) ? 'row' : OUTAGE_CLASSES.has(sqlClass) ? 'outage' : 'bug';
}

/** The SQLSTATE or system code of an error, null when it has none. */
export function errorCode(error: unknown): string | null {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : null;
}
