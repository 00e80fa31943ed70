/**
 * To be a parameter of every connection. Where a connection ends while a statement is about to be
 * sent, the client keeps its bytes and sends nothing more by itself, not even on the next
 * connection: only what comes to 1 KiB goes out at once, and frees it. So the startup message does.
 */
export const PADDING = { pulsegraph_padding: ' '.repeat(1_024) };

const PADDING_NAME = Object.keys(PADDING)[0] as string;
const PROTOCOL_VERSION = 0x00030000;

/** The startup message at the end of what the client wrote first, without the padding. */
export function startupOf(bytes: Buffer): Buffer {
  for (let at = bytes.length - 1_024; at >= 0; at--) {
    const isStartup =
      bytes.readUInt32BE(at) === bytes.length - at &&
      bytes.readUInt32BE(at + 4) === PROTOCOL_VERSION;
    if (!isStartup) continue;
    // In latin1 every byte stays as it is.
    const parameters = bytes.toString('latin1', at + 8, bytes.length - 2).split('\0');
    parameters.splice(parameters.indexOf(PADDING_NAME), 2);
    const text = Buffer.from(`${parameters.join('\0')}\0\0`, 'latin1');
    const head = Buffer.alloc(8);
    head.writeUInt32BE(head.length + text.length, 0);
    head.writeUInt32BE(PROTOCOL_VERSION, 4);
    return Buffer.concat([head, text]);
  }
  return bytes;
}
