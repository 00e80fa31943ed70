import { Database } from 'bun:sqlite';
import { StartError } from '../domain/start-error.ts';

/**
 * One row of `outgoing` is one message on its way to one session; `seq` is its place in the queue.
 * A payload is a BLOB, or TEXT where it was published in the process as a string.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS sessions (
  client_id TEXT PRIMARY KEY,
  disconnected_ms INTEGER -- null while it is connected
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscriptions (
  client_id TEXT NOT NULL, filter TEXT NOT NULL, options TEXT NOT NULL,
  PRIMARY KEY (client_id, filter)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retained (
  topic TEXT PRIMARY KEY, fields TEXT NOT NULL, payload
);
CREATE TABLE IF NOT EXISTS outgoing (
  seq INTEGER PRIMARY KEY, client_id TEXT NOT NULL,
  broker_id TEXT NOT NULL, broker_counter INTEGER NOT NULL,
  message_id INTEGER, cmd TEXT NOT NULL, topic TEXT, payload,
  qos INTEGER, retain INTEGER, dup INTEGER, size INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS outgoing_queue ON outgoing (client_id, seq);
CREATE UNIQUE INDEX IF NOT EXISTS outgoing_message
  ON outgoing (client_id, broker_counter, broker_id);
CREATE INDEX IF NOT EXISTS outgoing_in_flight
  ON outgoing (client_id, message_id) WHERE message_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS incoming (
  client_id TEXT NOT NULL, message_id INTEGER NOT NULL, fields TEXT NOT NULL, payload,
  PRIMARY KEY (client_id, message_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wills (
  client_id TEXT PRIMARY KEY, broker_id TEXT NOT NULL, fields TEXT NOT NULL, payload
);
PRAGMA user_version = 1;
`;

/**
 * Opens the broker's session store for this process alone.
 *
 * @throws StartError when another process has it, or it is no such file
 */
export function openSessionFile(path: string): Database {
  const db = new Database(path, { create: true, strict: true });
  try {
    // Locked as long as it is open: two brokers on one file would each lose the other's messages.
    db.run('PRAGMA locking_mode = EXCLUSIVE');
    db.run('PRAGMA journal_mode = WAL');
    db.run('PRAGMA synchronous = FULL');
    const version = db.query<{ user_version: number }, []>('PRAGMA user_version').get();
    if ((version?.user_version ?? 0) > 1) {
      throw new StartError(
        'DATA_DIR_UNUSABLE',
        `${path} was written by a newer Pulsegraph: run that version, or set DATA_DIR elsewhere`,
      );
    }
    db.run(`BEGIN EXCLUSIVE; ${SCHEMA} COMMIT`);
    return db;
  } catch (error) {
    db.close();
    if (error instanceof StartError) throw error;
    const busy = String((error as { code?: string }).code).startsWith('SQLITE_BUSY');
    throw new StartError(
      busy ? 'DATA_DIR_IN_USE' : 'DATA_DIR_UNUSABLE',
      busy
        ? `${path} is in use by another process: stop that one, or set DATA_DIR to another folder`
        : `${path} can't be used as the MQTT session store (${(error as Error).message}): mend it or ` +
            'move it away, and sessions and queues begin anew',
      { cause: error },
    );
  }
}
