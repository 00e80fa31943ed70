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
  close(): Promise<void>;
}

/** A way to a server on which a network's faults can be made. */
export async function tcpProxy(serverUrl: string): Promise<TcpProxy> {
  const target = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let frozen = false;
  let away = false;
  let made = 0;
  let cut: { needle: string; bytes: number; done: () => void } | null = null;

  const server = createServer((client) => {
    made++;
    if (away) return void client.on('error', () => {}).destroy();
    const upstream = connect(Number(target.port), target.hostname);
    let cutting: { bytes: number; done: () => void } | null = null;
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
    client.on('data', (bytes) => {
      if (cut !== null && bytes.includes(cut.needle)) {
        cutting = cut;
        cut = null;
      }
      upstream.write(bytes);
    });
    upstream.on('data', (bytes: Buffer) => {
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
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.pause();
    },
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
    cutAfter: (needle) => cutWithin(needle, 0),
    cutWithin,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
