import { expect, test } from 'bun:test';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { Aedes } from 'aedes';
import { createSender } from '../../src/loadtest/sender.ts';
import { UnreachableError } from '../../src/loadtest/unreachable.ts';

/**
 * A broker that acknowledges the first `answers` messages, then falls silent (no PUBACK, as if the
 * process had died before it), and can lose all its connections at once.
 */
async function startBroker(options: {
  port: number;
  answers: number;
  onMessage: (id: number) => void;
}) {
  const broker = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  let count = 0;
  broker.authorizePublish = (_client, packet, done) => {
    if (++count > options.answers) return;
    options.onMessage(Number(packet.payload.toString()));
    done(null);
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    broker.handle(socket);
  });
  server.listen(options.port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    isSilent: () => count > options.answers,
    async kill() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await new Promise<void>((resolve) => broker.close(resolve));
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('waited 15 s in vain');
    await Bun.sleep(5);
  }
}

const TOTAL = 400;
const WINDOW = 40;

const FOREVER = Number.POSITIVE_INFINITY;

for (const { name, lives } of [
  { name: 'a killed broker', lives: [50, FOREVER] },
  { name: 'brokers killed in the middle of the resending', lives: [50, 5, 0, 20, FOREVER] },
  { name: 'a broker killed just after the resending', lives: [100, WINDOW + 5, FOREVER] },
]) {
  test(`all is acknowledged, and in order, over ${name}`, async () => {
    const received: number[] = [];
    const acknowledged = new Set<number>();
    const start = (port: number, answers: number) =>
      startBroker({ port, answers, onMessage: (id) => received.push(id) });
    let broker = await start(0, lives[0] ?? FOREVER);
    const { port } = broker;
    const sender = await createSender({
      mqttUrl: `mqtt://127.0.0.1:${port}`,
      protocolVersion: 4,
      clientId: 'device',
      window: WINDOW,
    });
    let sent = 0;
    let most = 0;
    const pump = setInterval(() => {
      while (sent < TOTAL && sender.hasRoom()) {
        const id = ++sent;
        sender.send('t', String(id), () => acknowledged.add(id));
      }
      most = Math.max(most, sender.inFlight);
    }, 1);
    try {
      for (const answers of lives.slice(1)) {
        await until(broker.isSilent);
        await broker.kill();
        broker = await start(port, answers);
      }
      await until(() => acknowledged.size === TOTAL);
      expect(most).toBe(WINDOW);
      expect(sender.refused).toBe(0);
      expect(sender.inFlight).toBe(0);
      // A resend may repeat what came before, but nothing new overtakes.
      const first = received.filter((id, index) => received.indexOf(id) === index);
      expect(first).toEqual(Array.from({ length: TOTAL }, (_, index) => index + 1));
    } finally {
      clearInterval(pump);
      await sender.close();
      await broker.kill();
    }
  }, 60_000);
}

test('an MQTT 5 client is told which version to take', async () => {
  const broker = await startBroker({ port: 0, answers: 0, onMessage: () => {} });
  const mqttUrl = `mqtt://127.0.0.1:${broker.port}`;
  try {
    const attempt = createSender({ mqttUrl, protocolVersion: 5, clientId: 'five', window: 1 });
    const error = await attempt.then(
      () => null,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(UnreachableError);
    expect(String(error)).toContain(`${mqttUrl}: the broker refuses MQTT 5; try --mqtt-version 4`);
  } finally {
    await broker.kill();
  }
}, 20_000);
