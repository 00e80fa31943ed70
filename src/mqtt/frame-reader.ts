/** Cuts a connection's bytes into MQTT packets, by their fixed headers. */

export interface Frame {
  /** The packet with its fixed header; of one over the limit only the beginning. */
  bytes: Buffer;
  /** The length of the whole packet in bytes. */
  size: number;
  isCut: boolean;
}

export interface FrameReader {
  /**
   * Takes the next bytes and gives the packets that are complete with them, which may share the
   * chunk's memory.
   *
   * @throws Error when they can't be MQTT
   */
  push(chunk: Buffer): Frame[];
}

/** One byte of type and flags, and at most four of length. */
const MAX_HEADER_BYTES = 5;

/**
 * A packet of more than `maxBytes` is read over: what is kept of it are its first `keptBytes`, so
 * that whoever sent it can be named. No more than that is ever in memory.
 */
export function createFrameReader(options: { maxBytes: number; keptBytes: number }): FrameReader {
  const { maxBytes, keptBytes } = options;
  /** The begun header of a packet. */
  let header: Buffer | null = null;
  let parts: Buffer[] = [];
  let kept = 0;
  let size = 0;
  /** Bytes of the begun packet that are still to come. */
  let missing = 0;

  function push(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let bytes = chunk;
    if (header !== null) {
      bytes = Buffer.concat([header, chunk]);
      header = null;
    }
    let at = 0;
    while (at < bytes.length) {
      if (missing === 0) {
        const length = packetLength(bytes, at);
        if (length === null) {
          header = Buffer.from(bytes.subarray(at));
          break;
        }
        if (length <= maxBytes && at + length <= bytes.length) {
          frames.push({ bytes: bytes.subarray(at, at + length), size: length, isCut: false });
          at += length;
          continue;
        }
        size = length;
        missing = length;
      }
      const taken = Math.min(missing, bytes.length - at);
      keep(bytes.subarray(at, at + taken));
      at += taken;
      missing -= taken;
      if (missing === 0) frames.push(finish());
    }
    return frames;
  }

  function keep(part: Buffer): void {
    const wanted = (size > maxBytes ? keptBytes : size) - kept;
    if (wanted <= 0) return;
    const piece = part.subarray(0, wanted);
    parts.push(piece);
    kept += piece.length;
  }

  function finish(): Frame {
    const frame = { bytes: Buffer.concat(parts), size, isCut: size > maxBytes };
    parts = [];
    kept = 0;
    return frame;
  }

  return { push };
}

/** The length of the packet that begins there, with its header; null when the header isn't whole. */
function packetLength(bytes: Buffer, start: number): number | null {
  let length = 0;
  for (let i = 1; i < MAX_HEADER_BYTES; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) return null;
    length += (byte & 0x7f) * 128 ** (i - 1);
    if ((byte & 0x80) === 0) return length + i + 1;
  }
  throw new Error('the other side does not speak MQTT: a packet length of more than four bytes');
}

/** What the beginning of a PUBLISH tells; null where it is another packet, or is cut before. */
export function readCutPublish(
  bytes: Buffer,
  protocolVersion: 4 | 5,
): { topic: string; messageId: number; qos: number; payload: Buffer } | null {
  const type = bytes[0] ?? 0;
  if (type >> 4 !== 3) return null;
  const qos = (type >> 1) & 3;
  let at = 1;
  const skipNumber = (): number => {
    let value = 0;
    for (let i = 0; i < 4; i++) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * 128 ** i;
      if ((byte & 0x80) === 0) break;
    }
    return value;
  };
  skipNumber();
  if (bytes.length < at + 2) return null;
  const topicEnd = at + 2 + bytes.readUInt16BE(at);
  const idEnd = topicEnd + (qos > 0 ? 2 : 0);
  if (bytes.length < idEnd) return null;
  const topic = bytes.toString('utf8', at + 2, topicEnd);
  const messageId = qos > 0 ? bytes.readUInt16BE(topicEnd) : 0;
  at = idEnd;
  if (protocolVersion === 5) {
    const properties = skipNumber();
    at += properties;
  }
  return { topic, messageId, qos, payload: bytes.subarray(Math.min(at, bytes.length)) };
}
