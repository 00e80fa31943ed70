import { isJsonObject, parseJson } from '../domain/json.ts';
import type { RejectReason } from '../domain/reading.ts';

/**
 * What stands in the log for a message that the log itself does not take: why, and how it began.
 * Its record's topic is REFUSED_TOPIC, in the header alone, where no device's topic gets to.
 */
export interface RefusedRecord {
  /** The message's own. */
  topic: string;
  reason: Extract<RejectReason, 'TOO_LARGE'>;
  detail: string;
  /** The first bytes of the message. */
  payload: Uint8Array;
}

/** As much as the table of dead letters keeps of a text. */
const MAX_TEXT = 1_000;

export function encodeRefused({ topic, reason, detail, payload }: RefusedRecord): Uint8Array {
  const record = {
    topic: topic.slice(0, MAX_TEXT),
    reason,
    detail: detail.slice(0, MAX_TEXT),
    payload: Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('base64'),
  };
  return new TextEncoder().encode(JSON.stringify(record));
}

/** Null where it is none: somebody else wrote it. */
export function decodeRefused(value: Uint8Array): RefusedRecord | null {
  let record: unknown;
  try {
    record = parseJson(new TextDecoder().decode(value));
  } catch {
    return null;
  }
  if (!isJsonObject(record as never)) return null;
  const { topic, reason, detail, payload } = record as Record<string, unknown>;
  if (typeof topic !== 'string' || typeof detail !== 'string') return null;
  if (reason !== 'TOO_LARGE' || typeof payload !== 'string') return null;
  return { topic, reason, detail, payload: Buffer.from(payload, 'base64') };
}
