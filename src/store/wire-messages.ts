/** Messages of Postgres' protocol: a type of one byte, a length of four that counts itself, content. */

export const MESSAGE = {
  commandComplete: 0x43,
  dataRow: 0x44,
  error: 0x45,
  readyForQuery: 0x5a,
} as const;

/** Of a client: a statement to be prepared, behind its name, and one to be run at once. */
const PARSE = 0x50;
const QUERY = 0x51;

export interface WireMessage {
  type: number;
  start: number;
  end: number;
}

const HEAD_BYTES = 5;

/** Cuts a stream into whole messages: what is whole is given on, the rest is kept for later. */
export function createWireReader(): {
  read(data: Buffer): { data: Buffer; messages: WireMessage[] };
} {
  let kept: Buffer[] = [];
  let keptBytes = 0;
  /** Bytes that the first message kept needs; a row of many megabytes comes in many pieces. */
  let needed = HEAD_BYTES;

  return {
    /** @throws Error on what is no message */
    read(piece) {
      kept.push(piece);
      keptBytes += piece.length;
      if (keptBytes < needed) return { data: Buffer.alloc(0), messages: [] };
      const data = kept.length === 1 ? piece : Buffer.concat(kept, keptBytes);
      const messages: WireMessage[] = [];
      let at = 0;
      needed = HEAD_BYTES;
      while (at + HEAD_BYTES <= data.length) {
        const end = at + 1 + lengthAt(data, at + 1);
        if (end > data.length) {
          needed = end - at;
          break;
        }
        messages.push({ type: data[at] as number, start: at, end });
        at = end;
      }
      kept = at < data.length ? [data.subarray(at)] : [];
      keptBytes = data.length - at;
      return { data: data.subarray(0, at), messages };
    },
  };
}

function lengthAt(data: Buffer, at: number): number {
  const length = data.readUInt32BE(at);
  if (length < 4) throw new Error('this is no message of Postgres');
  return length;
}

/** The fields of an ErrorResponse by their letter: V severity, C code, M message. */
export function errorFields(message: Buffer): Map<string, string> {
  const fields = message.toString('utf8', HEAD_BYTES).split('\0');
  return new Map(fields.map((field) => [field.charAt(0), field.slice(1)]));
}

/** The end of a statement that has none: without a count, and of no command that means anything. */
export const NO_RESULT = Buffer.from([
  MESSAGE.commandComplete,
  0,
  0,
  0,
  9,
  ...Buffer.from('NONE\0'),
]);

/** A server's word that it waits for the next statement, of a transaction that has failed. */
export const READY_TO_ROLL_BACK = Buffer.from([
  MESSAGE.readyForQuery,
  ...[0, 0, 0, 5],
  ...Buffer.from('E'),
]);

const LAST_STATEMENTS = ['commit', 'rollback'].flatMap((text) => [
  { type: PARSE, content: Buffer.from(`\0${text}\0`) },
  { type: QUERY, content: Buffer.from(`${text}\0`) },
]);

/** Whether what a client sends, in whole messages, has the COMMIT or ROLLBACK of a transaction. */
export function endsTransaction(data: Buffer): boolean {
  for (let at = 0; at + HEAD_BYTES <= data.length; at += 1 + lengthAt(data, at + 1)) {
    const text = data.subarray(at + HEAD_BYTES);
    const isLast = ({ type, content }: (typeof LAST_STATEMENTS)[0]) =>
      data[at] === type && text.subarray(0, content.length).equals(content);
    if (LAST_STATEMENTS.some(isLast)) return true;
  }
  return false;
}
