import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface TcpProxy {
  /** The server's URL by way of the proxy. */
  url: string;
  /** Connections made so far. */
  connections(): number;
  /** From now on bytes go nowhere, and no connection ends: a server that hangs. */
  freeze(): void;
  thaw(): void;
  /** Ends all connections, and new ones at once: a server that is away. */
  hangUp(): void;
  pickUp(): void;
  /**
   * The next time a client sends a text that holds `needle`, it reaches the server, and the
   * connection is cut when the server answers: the client can't know how it went.
   */
  cutAfter(needle: string): Promise<void>;
  /** The same, but the connection is cut behind the first `bytes` of the answer. */
  cutWithin(needle: string, bytes: number): Promise<void>;
  /**
   * The next time that bytes hold what `point` names, all connections hang as with `freeze`, and
   * it resolves: the moment for a kill. `reset` ends it.
   */
  haltAt(point: HaltPoint): Promise<void>;
  /** Ends all connections; new ones get through. */
  reset(): void;
  close(): Promise<void>;
}

/** A moment on a connection, by bytes that are sent on it at once. */
export interface HaltPoint {
  needle: string | Uint8Array;
  from: 'client' | 'server';
  /** Before the bytes get through, behind them, or when the server has answered them. */
  when: 'before' | 'behind' | 'answered';
  /** Only on a connection on which the client has sent this since. */
  after?: string;
}

/**
 * A way to a server on which a network's faults can be made.
 *
 * @param options.onSent told of all that clients send, connection by connection
 */
export async function tcpProxy(
  serverUrl: string,
  options: { onSent?: (connection: object, bytes: Buffer) => void } = {},
): Promise<TcpProxy> {
  const target = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let frozen = false;
  let away = false;
  let made = 0;
  let cut: { needle: string; bytes: number; done: () => void } | null = null;
  let halting: { point: HaltPoint; done: () => void } | null = null;

  function freeze(): void {
    frozen = true;
    for (const socket of sockets) socket.pause();
  }

  /** Looks for the point in a connection's bytes; tells whether they get through. */
  function haltPoint() {
    let prepared: HaltPoint | null = null;
    let isAsked = false;
    return (from: HaltPoint['from'], bytes: Buffer): boolean => {
      if (halting === null) return true;
      const { point, done } = halting;
      const halt = () => {
        halting = null;
        freeze();
        done();
      };
      if (isAsked && from === 'server') {
        halt();
        return false;
      }
      if (from === 'client' && point.after && bytes.includes(point.after)) prepared = point;
      if (point.after && prepared !== point) return true;
      if (from !== point.from || !bytes.includes(point.needle)) return true;
      if (point.when === 'answered') isAsked = true;
      else halt();
      return point.when !== 'before';
    };
  }

  const server = createServer((client) => {
    made++;
    if (away) return void client.on('error', () => {}).destroy();
    const upstream = connect(Number(target.port), target.hostname);
    let cutting: { bytes: number; done: () => void } | null = null;
    const passes = haltPoint();
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
      if (frozen) socket.pause();
    }
    client.on('data', (bytes: Buffer) => {
      if (cut !== null && bytes.includes(cut.needle)) {
        cutting = cut;
        cut = null;
      }
      options.onSent?.(client, bytes);
      if (passes('client', bytes)) upstream.write(bytes);
    });
    upstream.on('data', (bytes: Buffer) => {
      if (!passes('server', bytes)) return;
      if (cutting === null) return void client.write(bytes);
      const { bytes: left, done } = cutting;
      cutting.bytes -= bytes.length;
      if (left > 0) client.write(bytes.subarray(0, left));
      if (cutting.bytes > 0) return;
      client.end(() => client.destroy());
      upstream.destroy();
      done();
    });
  });
  const cutWithin = (needle: string, bytes: number) =>
    new Promise<void>((done) => {
      cut = { needle, bytes, done };
    });

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(serverUrl);
  url.port = String((server.address() as AddressInfo).port);

  return {
    url: url.href,
    connections: () => made,
    freeze,
    thaw() {
      frozen = false;
      for (const socket of sockets) socket.resume();
    },
    hangUp() {
      away = true;
      for (const socket of sockets) socket.destroy();
    },
    pickUp() {
      away = false;
    },
    haltAt: (point) =>
      new Promise<void>((done) => {
        halting = { point, done };
      }),
    reset() {
      frozen = false;
      for (const socket of sockets) socket.destroy();
    },
    cutAfter: (needle) => cutWithin(needle, 0),
    cutWithin,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
