import type { PacketSocket } from './bridge-socket.ts';

/** Pings twice in each keepalive, and ends a connection on which nothing comes back. */
export function keepAlive(socket: PacketSocket, keepAliveMs: number): void {
  if (keepAliveMs <= 0) return;
  const intervalMs = keepAliveMs / 2;
  let pingedMs = Number.POSITIVE_INFINITY;
  const timer = setInterval(() => {
    // A paused socket isn't read, so its silence says nothing.
    if (!socket.paused && socket.lastReadMs < pingedMs && pingedMs < performance.now()) {
      socket.destroy(new Error(`the broker did not answer a ping in ${intervalMs / 1_000} s`));
      return;
    }
    pingedMs = performance.now();
    socket.send({ cmd: 'pingreq' });
  }, intervalMs);
  void socket.ended.then(() => clearInterval(timer));
}
