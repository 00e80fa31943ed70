import fc from 'fast-check';
import { generate, type Packet } from 'mqtt-packet';
import { damaged, rawBytes } from '../bytes.ts';
import type { Fuzz } from '../fuzz.ts';
import { configBytes, manageBytes, readingBytes } from '../payloads.ts';
import { bareSocket } from '../sockets.ts';
import { type FuzzStage, PASSWORD } from '../stage.ts';

const QUIET_MS = 60;
const LOGIN_QUIET_MS = 10_000;
const CONNACK_BYTES = 4;
const PINGRESP = Buffer.from([0xd0, 0]);

const topic = fc.oneof(
  fc.constantFrom(
    ...['users/fuzz/devices/pump/telemetry', 'users/fuzz/config', 'users/fuzz/alerts/manage'],
    ...['users/victim/devices/probe/telemetry', 'users/victim/config', 'users/fuzz/alerts'],
    ...[
      'users/victim/alerts/manage',
      '$SYS/broker',
      '$pulsegraph/heartbeat',
      '$pulsegraph/refused',
    ],
    ...['users/fuzz/devices/a/b/telemetry', 'a'.repeat(2_000), '/'.repeat(40)],
  ),
  fc.string({ unit: 'binary', maxLength: 30 }),
);
const filter = fc.oneof(
  topic,
  fc.constantFrom('#', '+/+/alerts', 'users/victim/#', '$share/a/users/victim/alerts', '+', '#/a'),
  fc.constantFrom(
    'users/+/alerts',
    '$SYS/#',
    '$pulsegraph/#',
    'users/fuzz/#',
    'users/victim/alerts',
  ),
);
const payload = fc
  .oneof(readingBytes, configBytes, manageBytes, rawBytes)
  .map((b) => Buffer.from(b));
const messageId = fc.oneof(fc.constantFrom(0, 1, 65_535), fc.nat(65_535));
const qos = fc.constantFrom(0, 1, 2) as fc.Arbitrary<0 | 1 | 2>;

const publish = fc.record({
  cmd: fc.constant('publish' as const),
  topic,
  payload,
  qos,
  messageId,
  dup: fc.boolean(),
  retain: fc.boolean(),
});
const subscribe = fc.record({
  cmd: fc.constant('subscribe' as const),
  messageId,
  subscriptions: fc.array(fc.record({ topic: filter, qos }), { minLength: 1, maxLength: 5 }),
});
const unsubscribe = fc.record({
  cmd: fc.constant('unsubscribe' as const),
  messageId,
  unsubscriptions: fc.array(filter, { minLength: 1, maxLength: 5 }),
});
const answer = fc.record({
  cmd: fc.constantFrom('puback' as const, 'pubrec' as const, 'pubrel' as const, 'pubcomp' as const),
  messageId,
});
const bare = fc.record({ cmd: fc.constantFrom('pingreq' as const, 'pingresp' as const) });
const connack = fc.constant({ cmd: 'connack', returnCode: 0, sessionPresent: false } as const);

const will = fc.record({ topic, payload, qos, retain: fc.boolean() });
const connect = fc.record({
  cmd: fc.constant('connect' as const),
  protocolId: fc.constantFrom('MQTT' as const, 'MQIsdp' as const),
  protocolVersion: fc.constantFrom(3 as const, 4 as const, 5 as const),
  clean: fc.boolean(),
  keepalive: fc.nat(65_535),
  clientId: fc.oneof(fc.constantFrom('', 'fuzz', '$pulsegraph'), fc.string({ maxLength: 30 })),
  username: fc.oneof(
    fc.constantFrom('victim', 'fuzz', '$pulsegraph'),
    fc.string({ maxLength: 10 }),
  ),
  password: fc
    .oneof(fc.constant(PASSWORD), fc.string({ maxLength: 10 }))
    .map((p) => Buffer.from(p)),
  will: fc.option(will, { nil: undefined }),
});

function encoded(packet: fc.Arbitrary<unknown>): fc.Arbitrary<Uint8Array> {
  return packet.map((each) => {
    try {
      return generate(each as Packet);
    } catch {
      // What the library refuses to write: its fields as they are, behind a PUBLISH's first byte.
      return Buffer.from(`\x30${JSON.stringify(each)}`);
    }
  });
}

const packet = encoded(
  fc.oneof(
    { arbitrary: publish, weight: 5 },
    { arbitrary: subscribe, weight: 3 },
    { arbitrary: unsubscribe, weight: 1 },
    { arbitrary: answer, weight: 2 },
    { arbitrary: bare, weight: 1 },
    { arbitrary: connack, weight: 1 },
    { arbitrary: connect, weight: 1 },
  ),
);
const input = fc.oneof(
  { arbitrary: packet, weight: 3 },
  { arbitrary: damaged(packet), weight: 3 },
  { arbitrary: rawBytes, weight: 1 },
);

/** Who says so: null sends the inputs without a login of its own. */
const login = fc.oneof(
  { arbitrary: fc.constantFrom('fuzz', 'fuzz:pump'), weight: 8 },
  { arbitrary: fc.constant(null), weight: 1 },
);
const connection = fc.record({
  login,
  clean: fc.boolean(),
  session: fc.nat(20),
  inputs: fc.array(input, { minLength: 1, maxLength: 30 }),
});
const strangers = fc.record({
  login: fc.constant(null),
  clean: fc.constant(true),
  session: fc.constant(0),
  inputs: fc.array(fc.oneof(encoded(connect), damaged(encoded(connect))), {
    minLength: 1,
    maxLength: 2,
  }),
});

/** Packets on a socket of their own; whoever is no victim hears nothing of the victim's. */
export function fuzzPackets(stage: FuzzStage): Fuzz {
  async function run({ login: username, clean, session, inputs }: Connection): Promise<number> {
    const socket = await bareSocket(stage.mqttPort);
    try {
      if (username !== null) {
        const clientId = clean ? '' : `session-${session}`;
        const password = Buffer.from(PASSWORD);
        const options = { protocolVersion: 4, keepalive: 60, clean, clientId, username, password };
        socket.write(generate({ cmd: 'connect', protocolId: 'MQTT', ...options } as Packet));
        const { bytes } = await socket.hear(LOGIN_QUIET_MS, (b) => b.length >= CONNACK_BYTES);
        if (bytes[3] !== 0) throw new Error(`a right login gets ${bytes.toString('hex')}`);
      }
      let put = 0;
      for (const bytes of inputs) {
        if (!socket.write(bytes)) break;
        put++;
        // So that the broker can close on it, and what comes next isn't put to nobody.
        if (put % 4 === 0) await socket.hear(0);
      }
      socket.write(generate({ cmd: 'pingreq' }));
      const { bytes } = await socket.hear(QUIET_MS, (b) => b.subarray(-2).equals(PINGRESP));
      stage.scan('MQTT', bytes);
      return put;
    } finally {
      socket.destroy();
    }
  }
  const many = fc.array(
    fc.oneof({ arbitrary: connection, weight: 30 }, { arbitrary: strangers, weight: 1 }),
    { minLength: 1, maxLength: 12 },
  );
  return {
    name: 'packets and raw bytes',
    door: 'mqtt',
    isSocket: true,
    share: 32,
    runsInBatch: 25,
    property: (count) =>
      fc.asyncProperty(many, async (connections) => {
        const put = await Promise.all(connections.map(run));
        count(put.reduce((sum, each) => sum + each, 0));
        return true;
      }),
  };
}

interface Connection {
  login: string | null;
  clean: boolean;
  session: number;
  inputs: Uint8Array[];
}
