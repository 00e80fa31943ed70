/**
 * SQL literals for the statements of a batch. Without parameters they go under the simple protocol,
 * where the client sends them one behind the other and waits once for all; each statement with
 * parameters costs two round trips more, as it is described first. Works behind any pooler.
 *
 * Relies on standard_conforming_strings, which `connect` sets: a backslash stands for itself.
 */

/** @throws Error for a NUL character, which no Postgres text can hold */
export function literal(text: string): string {
  if (text.includes('\0')) throw new Error('a NUL character can not go into a statement');
  return `'${text.replaceAll("'", "''")}'`;
}

/** Any value as a literal of type json. */
export function jsonLiteral(value: unknown): string {
  return `${literal(JSON.stringify(value))}::json`;
}
