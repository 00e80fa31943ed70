import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type LogStage, logStage } from './log-stage.ts';

const MUTATION = `mutation ($userId: ID, $deviceId: ID!, $reading: JSON!) {
  publishReading(userId: $userId, deviceId: $deviceId, reading: $reading) }`;
const time = new Date().toISOString();
let stage: LogStage;

beforeAll(async () => {
  stage = await logStage();
  await stage.engines.start();
}, 30_000);
afterAll(() => stage.close());

const publish = (deviceId: string, reading: unknown, userId: string | null = 'ann') =>
  stage.on.query(MUTATION, { userId, deviceId, reading });

test('a reading is stored as if the device had sent it', async () => {
  const reading = { time, sequence_id: 7, temperature: 21.5, engine: { rpm: 900 } };
  expect(await publish('d1', reading)).toEqual({ data: { publishReading: true } });
  await stage.engines.stored();
  const rows = await stage.on.sql`SELECT user_id, device_id, sequence_id, temperature, extra_data
    FROM raw_telemetry`;
  expect(rows.map((row) => ({ ...row }))).toEqual([
    {
      user_id: 'ann',
      device_id: 'd1',
      sequence_id: 7,
      temperature: 21.5,
      extra_data: { engine: { rpm: 900 } },
    },
  ]);
});

test('what would become a dead letter is refused, and says why', async () => {
  const before = stage.engines.log.bounds(0).end;
  const cases: [unknown, string][] = [
    [{ time, sequence_id: 1, temperature: 'hot' }, 'WRONG_TYPE: temperature'],
    [{ time, sequence_id: 1, battery: 101 }, 'OUT_OF_RANGE: battery'],
    [{ sequence_id: 1 }, 'MISSING_FIELD: time'],
    [{ time: '1999-01-01T00:00:00Z', sequence_id: 1 }, 'TIME_OUT_OF_RANGE'],
    [{ time, sequence_id: 1, device_id: 'd2' }, 'DEVICE_MISMATCH'],
    [{ time, sequence_id: 1, note: 'a\0b' }, 'UNSTORABLE_TEXT'],
    [{ time, sequence_id: 1, note: 'x'.repeat(70_000) }, 'TOO_LARGE'],
    [[1], 'BAD_JSON'],
  ];
  for (const [reading, message] of cases) {
    const { errors } = await publish('d1', reading);
    expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect(errors?.[0]?.extensions.issues).toMatchObject([
      { path: 'reading', message: expect.stringContaining(message) },
    ]);
  }
  for (const name of ['', 'a/b', '+', 'x'.repeat(300)]) {
    const { errors } = await publish(name, { time, sequence_id: 1 });
    expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
  }
  expect(stage.engines.log.bounds(0).end).toBe(before);
});

test('a user publishes for their own devices, a device for itself, and nobody for others', async () => {
  const ann = { kind: 'user', userId: 'ann' } as const;
  const device = { kind: 'device', userId: 'ann', deviceId: 'd1' } as const;
  let sequence = 100;
  const call = async (viewer: typeof ann | typeof device, deviceId: string, userId?: string) => {
    const reading = { time, sequence_id: sequence++ };
    const { data, errors } = await stage.as(viewer, MUTATION, { userId, deviceId, reading });
    return errors?.[0]?.extensions.code ?? data.publishReading;
  };
  expect(await call(ann, 'new')).toBe(true);
  expect(await call(ann, 'd1', 'bob')).toBe('NOT_FOUND');
  expect(await call(device, 'd1')).toBe(true);
  expect(await call(device, 'd2')).toBe('NOT_FOUND');
  expect(await call(device, 'd1', 'bob')).toBe('NOT_FOUND');
  await stage.engines.stored();
  const rows = await stage.on.sql`SELECT user_id, device_id FROM raw_telemetry
    WHERE sequence_id >= 100 ORDER BY sequence_id`;
  expect(rows.map((row) => `${row.user_id}/${row.device_id}`)).toEqual(['ann/new', 'ann/d1']);
});

test('a log that takes nothing is UNAVAILABLE, and does not say why', async () => {
  const away = await logStage({
    appender: { append: () => Promise.reject(new Error('ENOSPC /var/secret')) },
  });
  try {
    const variables = { userId: 'ann', deviceId: 'd1', reading: { time, sequence_id: 1 } };
    const { errors } = await away.on.query(MUTATION, variables);
    expect(errors?.[0]?.extensions.code).toBe('UNAVAILABLE');
    expect(errors?.[0]?.message).not.toContain('secret');
  } finally {
    await away.close();
  }
}, 30_000);
