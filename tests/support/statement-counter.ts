/** Counts the statements that PostgreSQL clients send, by their messages of the wire protocol. */
export interface StatementCounter {
  readonly count: number;
  onSent(connection: object, bytes: Buffer): void;
}

/** Query, and Execute of a statement that was parsed before. */
const STATEMENTS = new Set(['Q', 'E']);
const LENGTH_BYTES = 4;

export function createStatementCounter(): StatementCounter {
  const rest = new Map<object, Buffer>();
  let count = 0;
  return {
    get count() {
      return count;
    },
    onSent(connection, bytes) {
      const before = rest.get(connection);
      let left = before === undefined ? bytes : Buffer.concat([before, bytes]);
      // The first message has no type.
      if (before === undefined) left = left.subarray(left.readInt32BE(0));
      while (left.length > LENGTH_BYTES) {
        const size = 1 + left.readInt32BE(1);
        if (left.length < size) break;
        if (STATEMENTS.has(String.fromCharCode(left[0] as number))) count++;
        left = left.subarray(size);
      }
      rest.set(connection, left);
    },
  };
}
