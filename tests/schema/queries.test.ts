import { afterAll, beforeAll, expect, test } from 'bun:test';
import fc from 'fast-check';
import { graphql } from 'graphql';
import { formatMicros } from '../../src/domain/time.ts';
import { model } from '../../src/model.ts';
import { createContext, type Viewer } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import {
  type Answer,
  commitEvent,
  type Stage,
  seedAlert,
  seedDevices,
  seedReadings,
  stage,
} from './support.ts';

let on: Stage;
const T0 = Date.UTC(2026, 0, 10) * 1_000;
const HUGE = '{"serial": 12345678901234567890, "engine": {"rpm": 900.5}, "tiny": 1e-7}';

beforeAll(async () => {
  on = await stage();
  await seedDevices(on.sql, [
    ...Array.from({ length: 50 }, (_, i) => ({ deviceId: `dev_${i + 1}` })),
    { userId: 'user_2', deviceId: 'other' },
  ]);
  await seedReadings(
    on.sql,
    Array.from({ length: 50 }, (_, i) =>
      [0, 1, 2].map((n) => ({
        deviceId: `dev_${i + 1}`,
        time: T0 + n * 1_000_000 + (n === 2 ? 123 : 0),
        sequenceId: n,
        temperature: 20 + n,
        battery: 90,
        extra: n === 2 ? HUGE : null,
      })),
    ).flat(),
  );
  for (const [n, severity] of ['INFO', 'WARNING', 'CRITICAL'].entries()) {
    const deviceId = `dev_${n + 1}`;
    await seedAlert(on.sql, { id: `a${n}`, severity, deviceId, startedAt: T0 + n });
    await commitEvent(on.sql, { id: `e${n}`, alertId: `a${n}`, severity, deviceId });
  }
  await seedAlert(on.sql, { id: 'b0', userId: 'user_2', deviceId: 'other', status: 'RESOLVED' });
  await on.sql`INSERT INTO dead_letters (log_id, log_topic, partition, "offset", topic, reason,
      detail, payload, arrival_time)
    SELECT 'log', 'iot-stream', 0, n, 'users/u/devices/d/telemetry',
      CASE WHEN n % 2 = 0 THEN 'BAD_JSON' ELSE 'TOO_LARGE' END, 'not JSON', '\\x7b00', now()
    FROM generate_series(1, 5) n`;
}, 30_000);

afterAll(() => on.close());

async function asViewer(viewer: Viewer, source: string): Promise<Answer> {
  const contextValue = createContext(on.deps, viewer);
  const result = await graphql({ schema: createSchema(model), source, contextValue });
  return JSON.parse(JSON.stringify(result)) as Answer;
}

test('users, devices, and the newest reading of fifty devices in one statement', async () => {
  const before = on.statements().length;
  const { data, errors } = await on.query(`{ user(id: "user_1") { id devices(first: 50) { nodes {
    id deviceId firstSeenAt lastSeenAt user { id }
    latest { time deviceId sequenceId temperature battery } } } } }`);
  expect(errors).toBeUndefined();
  const { nodes } = data.user.devices;
  expect(nodes).toHaveLength(50);
  for (const { deviceId, latest } of nodes) {
    expect(latest).toEqual({
      time: '2026-01-10T00:00:02.000123Z',
      deviceId,
      sequenceId: 2,
      temperature: 22,
      battery: 90,
    });
  }
  const sent = on.statements().slice(before);
  expect(sent.filter((statement) => statement.includes('raw_telemetry'))).toHaveLength(1);
  expect(sent).toHaveLength(3);
});

test('an alert, its device, rule and events: one statement for each kind', async () => {
  const before = on.statements().length;
  const { data, errors } = await on.query(`{ alerts(first: 10) { nodes { id severity status
    startedAt value threshold operator ruleVersion user { id } device { deviceId }
    rule { ruleId } evidence { partition offset sequenceId eventTime arrivalTime }
    events { seq type status message alert { id severity } } } } }`);
  expect(errors).toBeUndefined();
  expect(on.statements().slice(before)).toHaveLength(4);
  expect(data.alerts.nodes.map((alert: { id: string }) => alert.id)).toEqual([
    'a2',
    'a1',
    'a0',
    'b0',
  ]);
  expect(data.alerts.nodes[0]).toMatchObject({
    severity: 'CRITICAL',
    status: 'FIRING',
    value: 81.5,
    threshold: 80,
    operator: 'GT',
    user: { id: 'user_1' },
    device: { deviceId: 'dev_3' },
    rule: null,
    evidence: { partition: 2, offset: 77, sequenceId: 12 },
    events: [{ seq: 3, type: 'FIRED', alert: { id: 'a2', severity: 'CRITICAL' } }],
  });
});

test('of an event the names of its alert are there without reading it', async () => {
  const before = on.statements().length;
  const { data } = await on.query(
    `{ alert(id: "a2") { events { seq alert { id ruleId device { deviceId } } } } }`,
  );
  expect(data.alert.events).toMatchObject([{ alert: { id: 'a2', device: { deviceId: 'dev_3' } } }]);
  expect(on.statements().slice(before)).toHaveLength(2);
});

test('alerts are filtered, counted and found by id', async () => {
  const { data } = await on.query(`{
    user(id: "user_1") {
      severe: alerts(minSeverity: WARNING) { nodes { id } }
      ofDevice: alerts(deviceId: "dev_1", status: [FIRING]) { nodes { id } }
      resolved: alerts(status: [RESOLVED]) { nodes { id } }
      ranged: alerts(from: "${formatMicros(T0 + 1)}", to: "${formatMicros(T0 + 2)}") { nodes { id } }
      device(deviceId: "dev_2") { alerts { nodes { id } } }
    }
    all: alertCounts { severity count }
    one: alert(id: "a1") { id }
    none: alert(id: "nope") { id }
  }`);
  expect(data.user.severe.nodes).toEqual([{ id: 'a2' }, { id: 'a1' }]);
  expect(data.user.ofDevice.nodes).toEqual([{ id: 'a0' }]);
  expect(data.user.resolved.nodes).toEqual([]);
  expect(data.user.ranged.nodes).toEqual([{ id: 'a1' }]);
  expect(data.user.device.alerts.nodes).toEqual([{ id: 'a1' }]);
  expect(data.all.map(({ count }: { count: number }) => count)).toEqual([1, 1, 1]);
  expect(data.one).toEqual({ id: 'a1' });
  expect(data.none).toBeNull();
});

test('extraData keeps every digit up to the bytes of the response', async () => {
  const response = await fetch(`${on.server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      query: '{ user(id: "user_1") { device(deviceId: "dev_1") { latest { extraData } } } }',
    }),
  });
  expect(await response.text()).toContain('"serial":12345678901234567890');
});

test('readings page by time and sequence, both ways, within bounds', async () => {
  const page = async (args: string) =>
    (
      await on.query(`{ user(id: "user_1") { device(deviceId: "dev_1") { readings(${args}) {
        nodes { sequenceId } pageInfo { hasNextPage hasPreviousPage endCursor } } } } }`)
    ).data.user.device.readings;
  const first = await page('first: 2');
  expect(first.nodes).toEqual([{ sequenceId: 2 }, { sequenceId: 1 }]);
  expect(first.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
  const second = await page(`first: 2, after: "${first.pageInfo.endCursor}"`);
  expect(second.nodes).toEqual([{ sequenceId: 0 }]);
  expect(second.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
  const rising = await page(
    `order: ASC, from: "${formatMicros(T0 + 1)}", to: "${formatMicros(T0 + 2_000_123)}"`,
  );
  expect(rising.nodes).toEqual([{ sequenceId: 1 }]);
});

test('pages of any size give every reading once, also while readings arrive', async () => {
  const times = fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.boolean()), {
    minLength: 1,
    maxLength: 25,
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(
      times,
      fc.integer({ min: 1, max: 7 }),
      fc.boolean(),
      async (rows, first, asc) => {
        const deviceId = `paged_${run++}`;
        await seedDevices(on.sql, [{ deviceId }]);
        const readings = rows.map(([second], sequenceId) => ({
          deviceId,
          time: T0 + second * 1_000_000,
          sequenceId,
        }));
        const early = readings.filter((_, i) => rows[i]?.[1]);
        const late = readings.filter((_, i) => !rows[i]?.[1]);
        await seedReadings(on.sql, early);
        const seen: number[] = [];
        let after: string | null = null;
        do {
          const { data }: Answer = await on.query(
            `query ($after: String) { user(id: "user_1") { device(deviceId: "${deviceId}") {
            readings(first: ${first}, after: $after, order: ${asc ? 'ASC' : 'DESC'}) {
              edges { cursor node { sequenceId } } pageInfo { hasNextPage endCursor } } } } }`,
            { after },
          );
          const { edges, pageInfo } = data.user.device.readings;
          seen.push(...edges.map((edge: { node: { sequenceId: number } }) => edge.node.sequenceId));
          after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
          if (late.length > 0) await seedReadings(on.sql, late.splice(0));
        } while (after !== null);
        expect(new Set(seen).size).toBe(seen.length);
        const wanted = early.map(({ sequenceId }) => sequenceId);
        expect(seen).toEqual(expect.arrayContaining(wanted));
        const place = new Map(readings.map((r) => [r.sequenceId, r.time * 100 + r.sequenceId]));
        const places = seen.map((sequenceId) => (place.get(sequenceId) ?? 0) - T0 * 100);
        expect(places).toEqual(places.toSorted((a, b) => (asc ? a - b : b - a)));
      },
    ),
    { numRuns: 25 },
  );
}, 60_000);

test('users and devices are searched and paged by name', async () => {
  const { data } = await on.query(`{
    users(first: 1) { nodes { id } pageInfo { hasNextPage endCursor } }
    user(id: "user_1") { devices(search: "EV_4", first: 3) { nodes { deviceId } } }
    unknown: user(id: "nobody") { id }
  }`);
  expect(data.users.nodes).toEqual([{ id: 'user_1' }]);
  expect(data.users.pageInfo.hasNextPage).toBe(true);
  const next = await on.query(
    `{ users(after: "${data.users.pageInfo.endCursor}") { nodes { id } } }`,
  );
  expect(next.data.users.nodes).toEqual([{ id: 'user_2' }]);
  const names = data.user.devices.nodes.map((d: { deviceId: string }) => d.deviceId);
  expect(names).toEqual(['dev_4', 'dev_40', 'dev_41']);
  expect(data.unknown).toBeNull();
});

test('ingest status and dead letters', async () => {
  const { data, errors } = await on.query(`{
    ingest { lag newestAlertSeq lanes { partition state problem lag } counters { records live } }
    deadLetters(first: 2) { nodes { id reason payload offset topic } pageInfo { endCursor } }
    bad: deadLetters(reason: "BAD_JSON") { nodes { offset } }
  }`);
  expect(errors).toBeUndefined();
  expect(data.ingest).toMatchObject({ lag: 5, newestAlertSeq: 3, counters: { records: 42 } });
  expect(data.deadLetters.nodes[0]).toMatchObject({
    reason: 'TOO_LARGE',
    payload: 'ewA=',
    offset: 5,
  });
  expect(data.bad.nodes).toEqual([{ offset: 4 }, { offset: 2 }]);
  const next = await on.query(
    `{ deadLetters(after: "${data.deadLetters.pageInfo.endCursor}") { nodes { offset } } }`,
  );
  expect(next.data.deadLetters.nodes.map((n: { offset: number }) => n.offset)).toEqual([3, 2, 1]);
});

test('a user sees only what is theirs, and what operators see is forbidden', async () => {
  const viewer: Viewer = { kind: 'user', userId: 'user_2' };
  const { data, errors } = await asViewer(
    viewer,
    `{ me { id devices { nodes { deviceId } } } user(id: "user_1") { id } own: user(id: "user_2") { id }
       alert(id: "a1") { id } mine: alert(id: "b0") { id }
       alertCounts(userId: "user_1") { count }
       users { nodes { id } } alerts { nodes { id } } ingest { lag } deadLetters { nodes { id } } }`,
  );
  expect(data).toMatchObject({
    me: { id: 'user_2', devices: { nodes: [{ deviceId: 'other' }] } },
    user: null,
    own: { id: 'user_2' },
    alert: null,
    mine: { id: 'b0' },
    alertCounts: [{ count: 0 }, { count: 0 }, { count: 0 }],
    users: null,
    alerts: null,
    ingest: null,
    deadLetters: null,
  });
  expect(errors?.map(({ extensions }) => extensions.code)).toEqual(Array(4).fill('FORBIDDEN'));
  const change = await asViewer(
    viewer,
    'mutation { setRules(userId: "user_1", rules: []) { version } }',
  );
  expect(change.errors?.[0]?.extensions.code).toBe('NOT_FOUND');
});
