/**
 * A Postgres array literal, to be cast: `${textArray(ids)}::text[]`. The client learns array types
 * by a query of its own at each connect, which a pool behind a pooler had better do without.
 */
export function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replace(/["\\]/g, '\\$&')}"`).join(',')}}`;
}
