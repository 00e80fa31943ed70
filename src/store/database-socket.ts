import { EventEmitter } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { startupOf } from './startup-message.ts';
import {
  createWireReader,
  endsTransaction,
  errorFields,
  MESSAGE,
  NO_RESULT,
  READY_TO_ROLL_BACK,
} from './wire-messages.ts';

/** What `sslmode` of a URL became in the client: false, a mode, or options for TLS. */
export type TlsMode = false | true | string | tls.ConnectionOptions;

interface Target {
  host: string[];
  port: number[];
  /** Of a Unix socket; else false. */
  path: string | false;
  sslnegotiation?: string | null;
}

export interface SocketOptions {
  mode: TlsMode;
  /** A server that is silent for so long while it owes an answer is given up; null: never. */
  answerWithinMs: number | null;
}

/** How long a connection that broke in use still answers, once no transaction is left on it. */
const LINGER_MS = 250;

/**
 * The client's connection to a server, with a clear end, which the client itself lacks: it sends
 * the ROLLBACK of a transaction whose connection has closed into nothing, a TypeError that ends the
 * process; a write that was waiting then blocks all later ones, and a server that accepts and hangs
 * up is called again without pause. So here a connection that breaks while it is used first fails,
 * answers each further statement with an error, and closes only then: a transaction's not before
 * its ROLLBACK or COMMIT has come, however late a busy process sends it.
 *
 * opening -> open -> broken -> closed; from opening to broken, and from open to closed when idle.
 */
class DatabaseSocket extends EventEmitter {
  #wire: net.Socket | null = null;
  /** Written before the wire was open. */
  #waiting: { data: Buffer; written?: (error?: Error) => void }[] = [];
  #state: 'opening' | 'open' | 'broken' | 'closed' = 'opening';
  /** The server has answered all, and no transaction is open. */
  #idle = false;
  /** `ending` from when the client has sent COMMIT or ROLLBACK until the server's answer to it. */
  #transaction: 'none' | 'open' | 'ending' = 'none';
  /** It has been idle once: it is past its start. */
  #ready = false;
  /** The startup message was written. */
  #started = false;
  /** Rows of a result have come, and not yet its end. */
  #inRows = false;
  /** Runs while an answer is waited for; each piece of it starts it anew. */
  #silence: ReturnType<typeof setTimeout> | null = null;
  readonly #answerWithinMs: number | null;
  /** The client gets whole messages only, so that there is room between two for our own. */
  readonly #messages = createWireReader();
  readonly #at: string;
  #raw: net.Socket;
  /** Why it broke. */
  #reason: Error | undefined;

  constructor(target: Target, index: number, { mode, answerWithinMs }: SocketOptions) {
    super();
    this.#answerWithinMs = answerWithinMs;
    const host = target.host[index] ?? 'localhost';
    const port = target.port[index] ?? 5432;
    this.#at = target.path || `${host}:${port}`;
    this.#raw = target.path ? net.connect(target.path) : net.connect(port, host);
    this.#watch(this.#raw);
    this.#raw.once('connect', () => {
      if (mode === false || target.path) this.#opened(this.#raw);
      else if (target.sslnegotiation === 'direct') this.#secure(host, mode, ['postgresql']);
      else this.#askForTls(host, mode);
    });
  }

  get readyState(): string {
    return this.#state === 'closed' ? 'closed' : 'open';
  }

  write(bytes: Buffer, written?: (error?: Error) => void): boolean {
    const data = this.#started ? bytes : startupOf(bytes);
    this.#started = true;
    this.#idle = false;
    const isLast = this.#transaction === 'open' && endsTransaction(data);
    if (isLast) this.#transaction = 'ending';
    if (this.#state === 'broken' || this.#state === 'closed') {
      setImmediate(() => {
        written?.(this.#reason);
        this.#fail();
        if (isLast) this.#closeSoon();
      });
      return true;
    }
    if (this.#wire === null) {
      this.#waiting.push({ data, written });
      return true;
    }
    this.#awaitAnswer();
    return this.#wire.write(data, written as () => void);
  }

  end(data: Buffer): void {
    if (this.#wire === null || this.#state === 'broken') this.destroy();
    else this.#wire.end(data);
  }

  destroy(): void {
    (this.#wire ?? this.#raw).destroy();
    // Nothing of the wire tells its end any more.
    if (this.#state === 'broken') this.#closeSoon();
  }

  pause(): void {
    this.#wire?.pause();
  }

  resume(): void {
    this.#wire?.resume();
  }

  setKeepAlive(on: boolean, delayMs: number): void {
    this.#raw.setKeepAlive(on, delayMs);
  }

  #askForTls(host: string, mode: TlsMode): void {
    this.#raw.once('data', (answer) => {
      if (answer[0] === 0x53) this.#secure(host, mode);
      else if (mode === 'prefer') this.#opened(this.#raw);
      else
        this.#raw.destroy(new Error(`${this.#at} has no TLS: set sslmode=disable, or enable it`));
    });
    const SSL_REQUEST = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    this.#raw.write(Buffer.from(SSL_REQUEST));
  }

  #secure(host: string, mode: TlsMode, protocols?: string[]): void {
    const unverified = mode === 'require' || mode === 'allow' || mode === 'prefer';
    const secured = tls.connect({
      socket: this.#raw,
      servername: net.isIP(host) ? undefined : host,
      ...(protocols ? { ALPNProtocols: protocols } : {}),
      ...(unverified ? { rejectUnauthorized: false } : {}),
      ...(typeof mode === 'object' ? mode : {}),
    });
    this.#raw.removeAllListeners('close');
    this.#watch(secured);
    secured.once('secureConnect', () => this.#opened(secured));
  }

  #watch(wire: net.Socket): void {
    wire.on('error', (error) => this.#broke(error));
    wire.on('close', () => this.#broke(this.#error()));
  }

  #opened(wire: net.Socket): void {
    this.#wire = wire;
    this.#state = 'open';
    wire.on('data', (data: Buffer) => this.#received(data));
    wire.on('drain', () => this.emit('drain'));
    for (const { data, written } of this.#waiting.splice(0)) this.write(data, written);
  }

  #received(piece: Buffer): void {
    if (this.#state !== 'open') return;
    this.#silence?.refresh();
    try {
      const { data, messages } = this.#messages.read(piece);
      let handedOn = 0;
      const handOn = (to: number) => {
        if (to > handedOn) this.emit('data', data.subarray(handedOn, to));
        handedOn = to;
      };
      for (const { type, start, end } of messages) {
        if (type === MESSAGE.error) {
          handOn(start);
          const fields = errorFields(data.subarray(start, end));
          const isLast = fields.get('V') === 'FATAL' || fields.get('V') === 'PANIC';
          if (this.#ready && isLast) {
            this.#broke(serverError(fields));
            return;
          }
          this.#endRows();
        }
        if (type === MESSAGE.readyForQuery) {
          this.#idle = data[end - 1] === IDLE;
          if (this.#idle) this.#transaction = 'none';
          else if (this.#transaction === 'none') this.#transaction = 'open';
          this.#answered();
        }
        this.#ready ||= this.#idle;
        // A notice may come between two rows.
        if (type === MESSAGE.dataRow) this.#inRows = true;
        if (type === MESSAGE.commandComplete) this.#inRows = false;
      }
      handOn(data.length);
    } catch (error) {
      this.#broke(error as Error);
    }
  }

  /**
   * The client counts the rows of a result from where the last one ended, and takes note of that
   * only at its regular end: after a failure amid rows the next result would begin with holes.
   */
  #endRows(): void {
    if (this.#inRows) this.emit('data', NO_RESULT);
    this.#inRows = false;
  }

  #awaitAnswer(): void {
    if (this.#answerWithinMs === null || this.#silence !== null) return;
    const text = `the database at ${this.#at} has not answered in ${this.#answerWithinMs} ms`;
    const late = () => this.#broke(Object.assign(new Error(text), { code: 'DEADLINE' }));
    this.#silence = setTimeout(late, this.#answerWithinMs);
  }

  #answered(): void {
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#silence = null;
  }

  #broke(error: Error): void {
    if (this.#state === 'broken' || this.#state === 'closed') return;
    this.#state = 'broken';
    this.#reason = error;
    this.#answered();
    this.#endRows();
    if (this.#idle) {
      this.#close();
    } else {
      this.#fail();
      if (this.#transaction !== 'open') this.#closeSoon();
    }
  }

  /** What the client has asked fails, and a transaction may go on to its ROLLBACK. */
  #fail(): void {
    if (this.listenerCount('error') > 0) this.emit('error', this.#reason);
    if (this.#transaction === 'open') this.emit('data', READY_TO_ROLL_BACK);
  }

  #closeSoon(): void {
    setTimeout(() => this.#close(), LINGER_MS);
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#raw.destroy();
    this.emit('close', false);
  }

  #error(): Error {
    const error = new Error(`the connection to the database at ${this.#at} has closed`);
    return Object.assign(error, { code: 'CONNECTION_CLOSED' });
  }
}

/** Of ReadyForQuery: outside of a transaction. */
const IDLE = 0x49;

/**
 * The error with which the server ends a session is ours to tell: the client would keep it for the
 * first statement of its next connection, and give the second one the answer to the first.
 */
function serverError(fields: Map<string, string>): Error {
  return Object.assign(new Error(fields.get('M')), { code: fields.get('C') });
}

/** Makes the client's connections, to each host of the URL in turn; for its option `socket`. */
export function socketFactory(options: SocketOptions): (target: Target) => DatabaseSocket {
  let opened = 0;
  return (target) => new DatabaseSocket(target, opened++ % target.host.length, options);
}
