/**
 * Follows the packets in a connection's bytes by their fixed headers, so that a packet that is too
 * large is seen when its length arrives, not when all of it lies in memory.
 */

export interface FrameGuard {
  /** Takes the connection's next bytes. The length in bytes of a packet over the limit, or null. */
  push(chunk: Uint8Array): number | null;
}

/** The remaining length of MQTT is at most four bytes of seven bits each. */
const MAX_SHIFT = 21;

export function createFrameGuard(maxBytes: number): FrameGuard {
  let body = 0; // bytes of the current packet's body still to come
  let length = 0;
  let shift = -7; // -7: the packet's first byte is next; above: bits of the length seen so far

  function push(chunk: Uint8Array): number | null {
    let i = 0;
    while (i < chunk.length) {
      if (body > 0) {
        const taken = Math.min(body, chunk.length - i);
        body -= taken;
        i += taken;
        continue;
      }
      const byte = chunk[i++] as number;
      if (shift < 0) {
        shift = 0;
        length = 0;
        continue;
      }
      length += (byte & 0x7f) << shift;
      // A longer length is malformed, which the parser reports.
      if ((byte & 0x80) !== 0 && shift < MAX_SHIFT) {
        shift += 7;
        continue;
      }
      if (length > maxBytes) return length;
      shift = -7;
      body = length;
    }
    return null;
  }

  return { push };
}
