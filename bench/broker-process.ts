/**
 * The plain contender, in a process of its own: `bun bench/broker-process.ts <none|log|alerts> DIR`.
 * The broker is Pulsegraph's; what it does with a message is `none`: nothing; `log`: the embedded
 * log; `alerts`: one comparison, and an alert over MQTT and WebSocket, with nothing kept anywhere.
 * Writes its addresses to stdout as JSON, and ends when stdin does.
 */
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import type { LogAppender } from '../src/domain/log.ts';
import { compileTopic } from '../src/domain/topic.ts';
import { openEmbeddedLog } from '../src/engine/sources/embedded-log.ts';
import { model } from '../src/model.ts';
import { startBroker } from '../src/mqtt/broker.ts';
import { logger } from './database.ts';
import { THRESHOLD } from './readings.ts';

const [, , mode, folder = ''] = process.argv;
const utf8 = new TextDecoder();
const hot = new Set<string>();
const sockets = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch(request, server) {
    const user = new URL(request.url).pathname.slice(1);
    return server.upgrade(request, { data: user })
      ? undefined
      : new Response(null, { status: 400 });
  },
  websocket: {
    data: '' as string,
    open(socket) {
      socket.subscribe(socket.data);
    },
    message: () => {},
  },
});
let client: MqttClient | null = null;
const broker = await startBroker({
  port: 0,
  dataFile: join(folder, 'mqtt.sqlite'),
  appender: await appenderOf(),
  telemetry: compileTopic(model),
  maxPayloadBytes: 65_536,
  logger,
});
if (mode === 'alerts') client = await connectAsync(broker.url);
console.log(JSON.stringify({ mqttUrl: broker.url, wsUrl: `ws://127.0.0.1:${sockets.port}` }));
for await (const _ of Bun.stdin.stream());
process.exit();

async function appenderOf(): Promise<LogAppender> {
  if (mode === 'none') return { append: async () => {} };
  if (mode === 'alerts') return { append: judge };
  const file = join(folder, 'log.sqlite');
  const log = await openEmbeddedLog({ file, topic: 'iot-stream', partitions: 4, logger });
  return log;
}

async function judge({ topic, value }: { topic: string; value: Uint8Array }): Promise<void> {
  const { time, temperature } = JSON.parse(utf8.decode(value));
  const [, user = '', , device = ''] = topic.split('/');
  const name = `${user}/${device}`;
  const isHot = temperature > THRESHOLD;
  if (isHot === hot.has(name)) return;
  if (isHot) hot.add(name);
  else hot.delete(name);
  const type = isHot ? 'FIRED' : 'RESOLVED';
  const alert = JSON.stringify({
    type,
    user_id: user,
    device_id: device,
    time,
    value: temperature,
  });
  client?.publish(`users/${user}/alerts`, alert, { qos: 1 });
  sockets.publish(user, alert);
}
