import { expect } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { partitionOf } from '../../src/engine/sources/partitioner.ts';
import type { Sql } from '../../src/store/connection.ts';
import { type Heard, telemetryTopic } from './app-clients.ts';
import { eventually } from './process.ts';

/** Ten rounds cold, ten hot, and so on: every device fires and resolves each twenty. */
const ROUNDS_OF_A_KIND = 10;
const LIMIT = 80;
const HOT = 90;
const COLD = 70;
const INTERVAL_MS = 100;
/** Not as fast as it goes: what is sent while a process starts has to be read again, too. */
const BETWEEN_ROUNDS_MS = 15;
const SETTLED_MS = 60_000;

/** Devices of one user, who have one rule, with readings whose transitions are known beforehand. */
export interface Fleet {
  readonly user: string;
  readonly devices: readonly string[];
  /** Those whose readings go to one of these partitions. */
  devicesOn(partitions: readonly number[], of: number): string[];
  /** One reading of every device. */
  sendRound(): Promise<void>;
  sendRounds(count: number): Promise<void>;
  /** Sends until `work` has ended, and one round of each kind more. */
  sendDuring(work: Promise<unknown>): Promise<void>;
  /** What every device has had since the first round: `FIRED 30`, `RESOLVED 40`, by sequence id. */
  transitions(): string[];
  /** Of all devices, with the two by which the rule was seen to be in force. */
  transitionCount(): number;
  /** Waits for the last reading, then compares all that is stored. */
  expectStoredOnce(sql: Sql): Promise<void>;
  /** Waits for the last transition, then compares what came: again is allowed, out of order not. */
  expectHeard(heard: readonly Heard[]): Promise<void>;
}

/** Writes the rule, and resolves once it is in force for every device, on whatever replica. */
export async function createFleet(options: {
  sql: Sql;
  client: MqttClient;
  user: string;
  devices?: number;
}): Promise<Fleet> {
  const { sql, client, user, devices: count = 12 } = options;
  const devices = Array.from({ length: count }, (_, n) => `d${n}`);
  const rule = { id: 'hot', key: 'temperature', operator: '>', threshold: LIMIT, message: 'hot' };
  await sql`
    INSERT INTO user_configs (user_id, rules) VALUES (${user}, ${sql.json([rule] as never)})`;
  const startMs = Date.now() - 3_600_000;
  const sequenceOf = (timeMs: number) => Math.round((timeMs - startMs) / INTERVAL_MS);
  let sent = 0;
  let next = 0;

  async function send(temperature: number): Promise<void> {
    const time = startMs + next * INTERVAL_MS;
    const payload = JSON.stringify({ time, sequence_id: next++, temperature });
    sent += devices.length;
    await Promise.all(
      devices.map((device) =>
        client.publishAsync(telemetryTopic(user, device), payload, { qos: 1 }),
      ),
    );
  }

  const firing = async () => {
    const [row] = await sql<{ n: number }[]>`
      SELECT count(*) AS n FROM alerts WHERE user_id = ${user} AND status = 'FIRING'`;
    return row?.n;
  };
  await eventually('the rule is in force', async () => {
    await send(HOT);
    return (await firing()) === devices.length;
  });
  await send(COLD);
  await eventually('all is calm', async () => (await firing()) === 0);
  next += 2 * ROUNDS_OF_A_KIND - (next % (2 * ROUNDS_OF_A_KIND));
  /** The sequence id of the first round. */
  const base = next;

  function sendRound(): Promise<void> {
    return send(Math.floor(next / ROUNDS_OF_A_KIND) % 2 === 1 ? HOT : COLD);
  }

  async function sendRounds(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await sendRound();
  }

  function transitions(): string[] {
    const changes = Math.max(0, Math.ceil((next - base) / ROUNDS_OF_A_KIND) - 1);
    return Array.from(
      { length: changes },
      (_, n) => `${n % 2 === 0 ? 'FIRED' : 'RESOLVED'} ${base + (n + 1) * ROUNDS_OF_A_KIND}`,
    );
  }

  const transitionCount = () => (2 + transitions().length) * devices.length;

  /** From the first round on. */
  function expectTransitions(events: { device: string; type: string; timeMs: number }[]): void {
    const found = Map.groupBy(
      events.filter(({ timeMs }) => sequenceOf(timeMs) >= base),
      ({ device }) => device,
    );
    for (const device of devices) {
      const had = (found.get(device) ?? []).map(
        ({ type, timeMs }) => `${type} ${sequenceOf(timeMs)}`,
      );
      expect({ device, had }).toEqual({ device, had: transitions() });
    }
  }

  async function expectStoredOnce(sql: Sql): Promise<void> {
    const stored = async () => {
      const [row] = await sql<{ n: number }[]>`
        SELECT count(*) AS n FROM raw_telemetry WHERE user_id = ${user}`;
      return row?.n ?? 0;
    };
    await eventually(`${sent} readings`, async () => (await stored()) >= sent, SETTLED_MS);
    expect(await stored()).toBe(sent);
    const [letters] = await sql<{ n: number }[]>`SELECT count(*) AS n FROM dead_letters`;
    expect(letters?.n).toBe(0);
    const events = await sql<{ device: string; type: string; timeMs: number }[]>`
      SELECT device_id AS device, type, extract(epoch FROM time)::float8 * 1000 AS "timeMs"
      FROM alert_events WHERE user_id = ${user} ORDER BY seq`;
    expectTransitions(events);
    const [alerts] = await sql<{ n: number }[]>`
      SELECT count(*) AS n FROM alerts WHERE user_id = ${user}`;
    // And the one by which the rule was seen to be in force.
    expect(alerts?.n).toBe((1 + Math.ceil(transitions().length / 2)) * devices.length);
  }

  async function expectHeard(heard: readonly Heard[]): Promise<void> {
    const wanted = transitionCount();
    const first = () => {
      const own = heard.filter(({ topic }) => topic === `users/${user}/alerts`);
      return [...new Map(own.map(({ json }) => [json.seq, json])).values()];
    };
    await eventually(`${wanted} alerts`, () => first().length >= wanted, SETTLED_MS).catch(
      (error: Error) => {
        throw new Error(`${error.message}: ${first().length} came`);
      },
    );
    expectOrdered(first().map(({ seq }) => seq));
    expectTransitions(
      first().map(({ device_id: device, type, time }) => {
        return { device, type, timeMs: Date.parse(time) };
      }),
    );
  }

  return {
    user,
    devices,
    devicesOn: (partitions, of) =>
      devices.filter((device) => partitions.includes(partitionOf(`${user}/${device}`, of))),
    sendRound,
    sendRounds,
    async sendDuring(work) {
      let isOver = false;
      const over = work.finally(() => {
        isOver = true;
      });
      over.catch(() => {});
      while (!isOver) {
        await sendRound();
        await Bun.sleep(BETWEEN_ROUNDS_MS);
      }
      await over;
      await sendRounds(2 * ROUNDS_OF_A_KIND);
    },
    transitions,
    transitionCount,
    expectStoredOnce,
    expectHeard,
  };
}

/** Each above the one before. */
export function expectOrdered(seqs: readonly number[]): void {
  expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
}
