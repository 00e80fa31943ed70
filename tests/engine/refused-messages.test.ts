import { afterEach, beforeEach, expect, test } from 'bun:test';
import { type LogMessage, MESSAGE_TOO_LARGE, REFUSED_TOPIC } from '../../src/domain/log.ts';
import { compileTopic } from '../../src/domain/topic.ts';
import { createDecoder } from '../../src/engine/decode.ts';
import { createRefusedMessages } from '../../src/engine/refused-messages.ts';
import { model } from '../../src/model.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import { type EngineStage, engineStage } from './engine-stage.ts';

let stage: EngineStage;
beforeEach(async () => {
  stage = await engineStage();
}, 30_000);
afterEach(() => stage.close(), 30_000);

const TOPIC = 'users/ann/devices/d1/telemetry';
const logger = { warn() {} };
const tooLarge = (bytes: number) =>
  Object.assign(new Error(`the message has ${bytes} bytes`), { code: MESSAGE_TOO_LARGE });

/** The stage's log with a limit of its own, as a broker of Kafka has. */
function limited(maxBytes: number) {
  return {
    async append(message: LogMessage) {
      if (message.value.length > maxBytes) throw tooLarge(message.value.length);
      await stage.log.append(message);
    },
  };
}

const big = (bytes: number, topic = TOPIC): LogMessage => ({
  topic,
  key: 'ann/d1',
  value: new Uint8Array(bytes).fill(120),
});

async function letters() {
  return await stage.sql<
    {
      offset: number;
      key: string;
      topic: string;
      reason: string;
      detail: string;
      payload: Uint8Array;
      log: string;
    }[]
  >`SELECT "offset", log_key AS key, topic, reason, detail, payload, log_id AS log
    FROM dead_letters ORDER BY "offset"`;
}

test('what the log refuses is taken while the database is away, and dead-lettered in its place', async () => {
  const proxy = await tcpProxy(stage.db.url);
  const { appender } = createRefusedMessages({ appender: limited(200_000), logger });
  await stage.start({ laneUrl: proxy.url });
  proxy.freeze();
  await appender.append(big(300_000));
  await stage.send({ at: 1, seq: 1 });
  proxy.thaw();
  await stage.stored();
  const [letter, ...rest] = await letters();
  expect(rest).toEqual([]);
  expect(letter).toMatchObject({ offset: 0, key: 'ann/d1', topic: TOPIC, reason: 'TOO_LARGE' });
  expect(letter?.detail).toBe('the message has 300000 bytes; these are its first 65536 bytes');
  expect(Buffer.from(letter?.payload ?? []).equals(Buffer.alloc(65_536, 'x'))).toBe(true);
  // Under the log's own id: so it is copied to the topic of dead letters like any other.
  expect(letter?.log).toBe(stage.log.logId);
  expect(await stage.count('raw_telemetry')).toBe(1);
  await proxy.close();
}, 30_000);

test('where the log takes little, less of the message is kept; a whole one stays whole', async () => {
  const { appender, keep } = createRefusedMessages({ appender: limited(10_000), logger });
  await appender.append(big(20_000));
  await appender.append(big(9_000));
  await keep(big(6_000), tooLarge(99));
  await createRefusedMessages({ appender: limited(1_500), logger }).appender.append(
    big(2_000, `users/${'x'.repeat(5_000)}/telemetry`),
  );
  await stage.start();
  await stage.stored();
  const stored = await letters();
  expect(stored.map(({ offset, payload }) => [offset, payload.length])).toEqual([
    [0, 4_096],
    [1, 9_000],
    [2, 6_000],
    [3, 0],
  ]);
  expect(stored[2]?.detail).toBe('the message has 99 bytes');
});

test('a log that fails otherwise is told; no device can send such a record', async () => {
  const away = { append: () => Promise.reject(new Error('closing')) };
  const { keep } = createRefusedMessages({ appender: away, logger });
  expect(keep(big(1), tooLarge(1))).rejects.toThrow('closing');
  const telemetry = compileTopic(model);
  expect(telemetry.match(REFUSED_TOPIC)).toBeNull();
  expect(telemetry.resembles(REFUSED_TOPIC)).toBe(false);
  // Nor by the envelope that an outside bridge writes.
  const inner = { topic: 'users/bob/devices/x/telemetry', reason: 'TOO_LARGE', detail: '' };
  const value = JSON.stringify({ topic: REFUSED_TOPIC, payload: { ...inner, payload: '' } });
  const broken = new TextEncoder().encode('{}');
  await stage.log.append({ topic: REFUSED_TOPIC, key: null, value: broken });
  const decode = createDecoder(model, { maxPayloadBytes: 65_536 });
  const record = { offset: 0, arrivalMs: Date.now(), key: null, topic: null };
  expect(decode({ ...record, value: new TextEncoder().encode(value) })).toMatchObject({
    ok: false,
    topic: REFUSED_TOPIC,
    rejection: { reason: 'BAD_TOPIC' },
  });
  await stage.start();
  await stage.stored();
  expect(await letters()).toMatchObject([{ topic: REFUSED_TOPIC, reason: 'BAD_TOPIC' }]);
});
