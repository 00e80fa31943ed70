import type { Duplex } from 'node:stream';

/** CONNACK as MQTT 5 writes it: no session, reason 0x84 (unsupported version), no properties. */
const UNSUPPORTED_PROTOCOL_VERSION = Uint8Array.of(0x20, 0x03, 0x00, 0x84, 0x00);
const CLOSE_WITHIN_MS = 1_000;

/**
 * Answers an MQTT 5 CONNECT in a form that its client understands, and calls `done` once the client
 * has gone, or hasn't in time.
 */
export function refuseMqtt5(connection: Duplex, done: () => void): void {
  const timer = setTimeout(finish, CLOSE_WITHIN_MS);
  function finish(): void {
    clearTimeout(timer);
    connection.off('close', finish);
    done();
  }
  connection.once('close', finish);
  connection.end(UNSUPPORTED_PROTOCOL_VERSION);
}
