import { connect, type Socket } from 'node:net';

export interface Said {
  bytes: Buffer;
  /** The other side has ended it. */
  isClosed: boolean;
}

/**
 * A bare TCP connection. What was said to the other side half-heartedly gets no answer, so its
 * silence says nothing: whether it hangs is the probe's to find out.
 */
export interface BareSocket {
  /** Bytes that were written while the other side was there; false when it is not. */
  write(bytes: Uint8Array): boolean;
  /** Resolves when it is closed, `isDone`, or silent for `quietMs` since the last byte. */
  hear(quietMs: number, isDone?: (bytes: Buffer) => boolean): Promise<Said>;
  destroy(): void;
}

const CONNECT_DEADLINE_MS = 30_000;

export async function bareSocket(port: number): Promise<BareSocket> {
  const socket: Socket = connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  let isClosed = false;
  let wake = () => {};
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    wake();
  });
  socket.on('data', (bytes: Buffer) => {
    chunks.push(bytes);
    wake();
  });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`port ${port} takes no connection`));
    }, CONNECT_DEADLINE_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`port ${port} refuses a connection`));
    });
  });
  return {
    write(bytes) {
      if (isClosed || socket.destroyed) return false;
      socket.write(bytes);
      return true;
    },
    async hear(quietMs, isDone = () => false) {
      for (;;) {
        const said = Buffer.concat(chunks);
        if (isClosed || isDone(said)) return { bytes: said, isClosed };
        let timer: ReturnType<typeof setTimeout> | undefined;
        const isWoken = await new Promise<boolean>((resolve) => {
          wake = () => resolve(true);
          timer = setTimeout(() => resolve(false), quietMs);
        });
        clearTimeout(timer);
        if (!isWoken) return { bytes: Buffer.concat(chunks), isClosed };
      }
    },
    destroy: () => socket.destroy(),
  };
}
