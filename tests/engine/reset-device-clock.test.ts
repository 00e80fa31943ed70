import { afterEach, beforeEach, expect, test } from 'bun:test';
import { resetDeviceClock } from '../../src/store/reset-device-clock.ts';
import { eventually } from '../support/process.ts';
import { type EngineStage, engineStage, HOT, type Sent, writeRules } from './engine-stage.ts';

const TIMEOUT_MS = 60_000;
const DEVICE = { userId: 'ann', deviceId: 'd1' };
let stage: EngineStage;
beforeEach(async () => {
  stage = await engineStage();
}, 30_000);
afterEach(() => stage.close(), 30_000);

/** Sends one at a time: each is a batch of its own. */
async function sendEach(...sent: Sent[]): Promise<void> {
  for (const one of sent) {
    await stage.send(one);
    await stage.stored();
  }
}

const late = { at: 10, seq: 2, temperature: 95 };

test(
  'a device whose clock went back is LATE until it is released; then its next reading fires',
  async () => {
    const one = await stage.start();
    await writeRules(stage.sql, 'ann', [HOT], one);
    await sendEach({ at: 300, seq: 1, temperature: 20 }, late, { ...late, at: 11, seq: 3 });
    expect(await stage.events()).toEqual([]);
    expect(one.engine.status().counters).toMatchObject({ live: 1, late: 2 });
    expect(await resetDeviceClock(stage.sql, { ...DEVICE, deviceId: 'd2' })).toBe(false);
    expect(await resetDeviceClock(stage.sql, DEVICE)).toBe(true);
    const [state] = await stage.sql`SELECT version, newest_time, rules FROM device_state`;
    expect(state).toMatchObject({ version: 4, newest_time: null });
    expect(state?.rules).toEqual({ version: 1, rules: {} });
    await sendEach({ ...late, at: 12, seq: 4 }, { at: 13, seq: 5, temperature: 20 });
    expect(await stage.events()).toEqual(['FIRED hot d1 @ 12', 'RESOLVED hot d1 @ 13']);
    expect(one.engine.status().lanes[0]?.state).toBe('RUNNING');
  },
  TIMEOUT_MS,
);

test(
  'an open alert goes on over a reset, and ends with a reading of the older clock',
  async () => {
    const one = await stage.start();
    await writeRules(stage.sql, 'ann', [HOT], one);
    await sendEach({ at: 300, seq: 1, temperature: 90 });
    await resetDeviceClock(stage.sql, DEVICE);
    await sendEach({ at: 10, seq: 2, temperature: 95 }, { at: 11, seq: 3, temperature: 20 });
    expect(await stage.events()).toEqual(['FIRED hot d1 @ 300', 'RESOLVED hot d1 @ 11']);
    expect(await stage.count('alerts')).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  'a reset that meets a batch loses neither: the batch is evaluated again, on what was reset',
  async () => {
    const one = await stage.start();
    await writeRules(stage.sql, 'ann', [HOT], one);
    await sendEach({ at: 300, seq: 1, temperature: 20 });
    let reset: Promise<boolean> | undefined;
    await stage.sql.begin(async (tx) => {
      await tx`SELECT FROM device_state FOR UPDATE`;
      reset = resetDeviceClock(stage.sql, DEVICE);
      await eventually('the reset waits for the row', waitingFor('test'), 20_000);
      // Evaluated before the reset, so LATE, and behind it at the row.
      await stage.send(late);
      await eventually('the lane waits for the row', waitingFor('lane'), 20_000);
    });
    expect(await reset).toBe(true);
    await stage.stored();
    expect(await stage.events()).toEqual(['FIRED hot d1 @ 10']);
    expect(await stage.count('raw_telemetry')).toBe(2);
    expect(one.engine.status().counters.rewinds).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

test(
  'resets among a stream of batches lose no reading and no transition',
  async () => {
    const one = await stage.start();
    await writeRules(stage.sql, 'ann', [HOT], one);
    const sent = Array.from({ length: 400 }, (_, n) => ({
      at: n / 10,
      seq: n,
      temperature: n % 20 < 10 ? 20 : 90,
    }));
    const resets = async () => {
      for (let n = 0; n < 20; n++) await resetDeviceClock(stage.sql, DEVICE);
    };
    for (let from = 0; from < sent.length; from += 40) {
      await Promise.all([stage.send(...sent.slice(from, from + 40)), resets()]);
    }
    await stage.stored();
    expect(await stage.count('raw_telemetry')).toBe(400);
    const expected = Array.from({ length: 39 }, (_, n) => (n % 2 === 0 ? 'FIRED' : 'RESOLVED'));
    expect((await stage.events()).map((event) => event.split(' ')[0] as string)).toEqual(expected);
    expect(one.engine.status().lanes[0]?.state).toBe('RUNNING');
  },
  TIMEOUT_MS,
);

const waitingFor = (name: string) => async () => {
  const [row] = await stage.sql`
    SELECT pid FROM pg_stat_activity WHERE datname = current_database()
      AND application_name = ${name} AND wait_event_type = 'Lock'`;
  return row?.pid as number | undefined;
};
