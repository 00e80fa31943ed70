import { afterEach, beforeEach, expect, test } from 'bun:test';
import { snooze } from '../../src/store/snooze.ts';
import { until } from '../mqtt/helpers.ts';
import { type EngineStage, engineStage, HOT, writeRules } from './engine-stage.ts';
import { PublisherStage } from './publisher-stage.ts';

/** The broker goes away and comes back; the outbox holds what happens meanwhile. */

const DEVICES = 12;
const ROUNDS = 40;
const QUIET = 'd0';

let stage: PublisherStage;
let engines: EngineStage;
beforeEach(async () => {
  stage = new PublisherStage();
  await stage.open();
  engines = await engineStage({ database: stage.db, partitions: 2 });
  stage.cleanup.add(() => engines.close());
}, 60_000);
afterEach(() => stage.cleanup.end(), 60_000);

interface Message {
  event_id: string;
  device_id: string;
  type: string;
  seq: number;
}

test('what happened while the broker was away is told in order, device by device, also in pieces', async () => {
  const { sql } = stage.db;
  const engine = await engines.start();
  await writeRules(sql, 'u', [HOT], engine);
  let first = await stage.app('app', 'users/u/alerts', false);
  await stage.publisher();
  const { port } = stage.broker;
  let round = 0;
  const rounds = async (count: number) => {
    for (const end = round + count; round < end; round++) {
      await engines.send(
        ...Array.from({ length: DEVICES }, (_, d) => ({
          ...{ user: 'u', device: `d${d}`, at: round, seq: round },
          temperature: round % 2 === 0 ? 99 : 20,
        })),
      );
    }
    await engines.stored();
  };
  const received: Message[] = [];
  const collect = () => received.push(...(first.on('users/u/alerts') as Message[]));
  const restart = async () => {
    const { dataFile } = stage;
    stage.broker = await stage.cleanup.broker({ dataFile, port });
    first = await stage.app('app', 'users/u/alerts', false);
  };

  await rounds(1);
  await until('the first alerts', () => first.on('users/u/alerts').length === DEVICES, 20_000);
  collect();
  await stage.broker.close();
  const rule = { userId: 'u', deviceId: QUIET, ruleId: 'hot' };
  await snooze(sql, { rule, duration: { months: 0, days: 1, micros: 0 }, actor: 'u' });
  // The last one fires.
  await rounds(ROUNDS);
  await sql`UPDATE snoozes SET until = now()`;
  await until(
    'the reminder, which waits for no broker',
    async () => (await sql`SELECT FROM alert_events WHERE type = 'REMINDED'`).length === 1,
    30_000,
  );
  // Back for a moment: it goes in the middle of what it missed.
  await restart();
  await until('some of it', () => first.on('users/u/alerts').length > DEVICES, 30_000);
  await stage.broker.close();
  collect();
  await rounds(3);
  await restart();
  const told = await sql<{ id: string; device_id: string; seq: number }[]>`
    SELECT id, device_id, seq FROM alert_events WHERE NOT muted ORDER BY seq`;
  await until(
    'the end of it',
    () => first.on('users/u/alerts').some(({ seq }) => seq === told.at(-1)?.seq),
    60_000,
  );
  collect();

  const seen = new Map<string, Message>();
  for (const message of received) {
    if (!seen.has(message.event_id)) seen.set(message.event_id, message);
  }
  const expected = Map.groupBy(told, ({ device_id }) => device_id);
  const got = Map.groupBy(seen.values(), ({ device_id }) => device_id);
  expect(got.size).toBe(DEVICES);
  for (const [device, messages] of got) {
    const ids = expected.get(device)?.map(({ id }) => id);
    expect(messages.map(({ event_id }) => event_id)).toEqual(ids as string[]);
  }
  const types = got.get('d1')?.map(({ type }) => type);
  expect(types).toEqual(Array.from({ length: round }, (_, n) => (n % 2 ? 'RESOLVED' : 'FIRED')));
  const [quiet] = await sql<{ n: number }[]>`
    SELECT count(*)::int AS n FROM alert_events WHERE muted AND device_id = ${QUIET}`;
  expect(quiet?.n).toBeGreaterThan(0);
}, 180_000);
