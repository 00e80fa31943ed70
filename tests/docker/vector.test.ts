import { expect, test } from 'bun:test';
import { compileTopic } from '../../src/domain/topic.ts';
import { createDecoder } from '../../src/engine/decode.ts';
import { model } from '../../src/model.ts';
import { exampleEnv, hoconValue, readCompose, readText } from './stack.ts';

interface VectorConfig {
  sources: { telemetry: Record<string, unknown> };
  transforms: { envelope: { inputs: string[]; source: string; drop_on_error: boolean } };
  sinks: {
    log: Record<string, unknown> & {
      buffer: Record<string, unknown>;
      librdkafka_options: Record<string, string>;
    };
  };
}

const env = exampleEnv();
const { services } = await readCompose(env);
const variables = services.vector?.environment ?? {};
const text = await readText('docker/vector.toml');
const used = [...text.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name as string);
// Vector fills them in before it reads the TOML.
const filled = text.replace(/\$\{(\w+)\}/g, (_, name) => variables[name] ?? `missing ${name}`);
const { sources, transforms, sinks } = Bun.TOML.parse(filled) as unknown as VectorConfig;

test('docker-compose.yml sets every variable, and Vector is told to read them', () => {
  expect(used.filter((name) => !variables[name])).toEqual([]);
  expect(variables.VECTOR_DANGEROUSLY_ALLOW_ENV_VAR_INTERPOLATION).toBe('true');
});

test('it takes the telemetry of the model, from the listener for services', async () => {
  const conf = await readText('docker/emqx.conf');
  expect(sources.telemetry).toMatchObject({
    type: 'mqtt',
    host: 'emqx',
    port: Number(hoconValue(conf, 'bind', 'listeners.tcp.services').split(':')[1]),
    topic: compileTopic(model).filter,
    client_id: 'vector-bridge',
    max_packet_size: Number(services.emqx?.environment?.EMQX_MQTT__MAX_PACKET_SIZE),
  });
});

test('it writes to the log of Pulsegraph, keyed and hashed as its own bridge does', () => {
  expect(sinks.log).toMatchObject({
    type: 'kafka',
    inputs: ['envelope'],
    topic: env.KAFKA_TOPIC,
    bootstrap_servers: services.pulsegraph?.environment?.KAFKA_BROKERS,
    key_field: '%kafka_key',
    encoding: { codec: 'json' },
    acknowledgements: { enabled: true },
    message_timeout_ms: 0,
    librdkafka_options: { partitioner: 'murmur2_random', 'enable.idempotence': 'true' },
  });
});

test('the buffer outlives Vector and holds up the source when it is full', () => {
  expect(sinks.log.buffer).toMatchObject({ type: 'disk', when_full: 'block' });
  // Vector's least.
  expect(sinks.log.buffer.max_size as number).toBeGreaterThan(268_435_488);
});

test('the key is made of the levels where the model has user and device', () => {
  const levels = model.topic.split('/');
  const [user, device] = [levels.indexOf('{user_id}'), levels.indexOf('{device_id}')];
  expect(transforms.envelope.source).toContain(
    `%kafka_key = join!([levels[${user}], levels[${device}]], "/")`,
  );
  expect(transforms.envelope.drop_on_error).toBeTrue();
});

test('what it writes is an envelope that the decoder takes, to the digit', () => {
  expect(transforms.envelope.source).toContain('. = { "topic": .topic, "payload": .message }');
  const payload = '{"time":"2026-01-01T00:00:00Z","sequence_id":1,"count":12345678901234567890}';
  const topic = compileTopic(model).format({ userId: 'user_123', deviceId: 'pump_1' });
  const decoded = createDecoder(model, { maxPayloadBytes: 65_536 })({
    offset: 0,
    arrivalMs: Date.UTC(2026, 0, 1),
    key: 'user_123/pump_1',
    topic: null,
    value: new TextEncoder().encode(JSON.stringify({ payload, topic })),
  });
  expect(decoded).toMatchObject({
    ok: true,
    topic,
    reading: { userId: 'user_123', deviceId: 'pump_1', sequenceId: 1 },
    extraText: '{"count":12345678901234567890}',
  });
});
