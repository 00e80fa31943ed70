import { type JsonValue, parseJson, printable } from '../domain/json.ts';
import type { Issue } from '../domain/rule.ts';

const MAX_BYTES = 1_000_000;

/** The JSON of a message that people write, or its fault. */
export function readJson(
  payload: Uint8Array,
): { ok: true; value: JsonValue } | { ok: false; issues: Issue[] } {
  const fault = (message: string) => ({ ok: false as const, issues: [{ path: '', message }] });
  if (payload.length > MAX_BYTES) {
    return fault(`is ${payload.length} bytes long; at most ${MAX_BYTES} are allowed`);
  }
  try {
    return {
      ok: true,
      value: parseJson(new TextDecoder('utf-8', { fatal: true }).decode(payload)),
    };
  } catch (error) {
    return fault(`is not JSON in UTF-8: ${printable((error as Error).message)}`);
  }
}
