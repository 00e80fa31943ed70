import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { partitionOf } from '../../src/engine/sources/partitioner.ts';
import { connectClient, type Heard, listen, query, subscribe } from '../support/app-clients.ts';
import { type Cluster, noCluster, type Replica, startCluster } from '../support/cluster.ts';
import { createFleet, expectOrdered, type Fleet } from '../support/fleet.ts';
import { eventually } from '../support/process.ts';

const PARTITIONS = 6;
/** Of a replica that died without a word: its session at the broker has to end first. */
const MOVES_WITHIN_MS = 60_000;
const TIMEOUT_MS = 120_000;

describe.skipIf(noCluster)('three processes as one group', () => {
  let cluster: Cluster;
  let client: MqttClient;
  let heard: Heard[];
  const leaves: (() => unknown)[] = [];
  beforeAll(async () => {
    cluster = await startCluster({ replicas: 3, partitions: PARTITIONS });
    client = await connectClient(cluster.mosquitto.url);
    heard = await listen(client, 'users/#');
    await shared(cluster.replicas);
  }, TIMEOUT_MS);
  afterEach(async () => {
    for (const leave of leaves.splice(0)) await leave();
  });
  afterAll(async () => {
    await client?.endAsync(true);
    await cluster?.close();
  }, TIMEOUT_MS);

  const fleetOf = (user: string) => createFleet({ sql: cluster.sql, client, user });

  async function partitionsOf({ graphqlUrl }: Replica): Promise<number[]> {
    const { ingest } = await query(graphqlUrl, '{ ingest { lanes { partition state } } }');
    const running = ingest.lanes.filter(({ state }: { state: string }) => state === 'RUNNING');
    return running.map(({ partition }: { partition: number }) => partition);
  }

  /** Every partition is read by one of them, and each has its part. */
  async function shared(replicas: readonly Replica[]): Promise<void> {
    await eventually(
      'each has its partitions',
      async () => {
        const parts = await Promise.all(replicas.map(partitionsOf));
        const all = parts.flat().toSorted((a, b) => a - b);
        return all.join() === '0,1,2,3,4,5' && parts.every((part) => part.length > 0);
      },
      MOVES_WITHIN_MS,
    );
  }

  const publisher = () => cluster.replicas.find(isPublisher);
  const someOther = (than: Replica | undefined) =>
    cluster.replicas.find((replica) => replica !== than) as Replica;

  function watchAlerts(fleet: Fleet) {
    return cluster.replicas.map(({ graphqlUrl }) => {
      const { user } = fleet;
      const document = `subscription { alertEvents(userId: "${user}", after: 0) { seq type } }`;
      const watch = subscribe(graphqlUrl, document, 'alertEvents');
      leaves.push(watch.leave);
      return watch;
    });
  }

  async function expectOnce(fleet: Fleet): Promise<void> {
    await fleet.expectStoredOnce(cluster.sql);
    await fleet.expectHeard(heard);
  }

  test(
    'every replica has the same events in the same order, whoever committed them',
    async () => {
      const fleet = await fleetOf('order');
      const watches = watchAlerts(fleet);
      const parts = await Promise.all(cluster.replicas.map(partitionsOf));
      for (const part of parts) {
        expect(fleet.devicesOn(part, PARTITIONS).length).toBeGreaterThan(0);
      }
      await fleet.sendRounds(100);
      await expectOnce(fleet);
      const wanted = fleet.transitionCount();
      for (const { events, errors } of watches) {
        await eventually('all came', () => events.length >= wanted, MOVES_WITHIN_MS);
        const seqs = events.map(({ seq }) => seq);
        expectOrdered(seqs);
        expect(seqs).toEqual((watches[0]?.events ?? []).map(({ seq }) => seq));
        expect(errors).toEqual([]);
      }
    },
    TIMEOUT_MS,
  );

  const ways: Record<string, (user: string) => Promise<unknown>> = {
    GraphQL: (user) =>
      query(
        cluster.replicas[2]?.graphqlUrl as string,
        'mutation M($user: ID!) { setRules(userId: $user, temperatureMax: 50) { version } }',
        { user },
      ),
    SQL: (user) =>
      cluster.sql`UPDATE user_configs SET temperature_max = 50 WHERE user_id = ${user}`.execute(),
    MQTT: (user) =>
      client.publishAsync(`users/${user}/config`, '{"temperature_max": 50}', { qos: 1 }),
  };
  test.each(Object.keys(ways))(
    'rules changed by %s reach every replica',
    async (way) => {
      const fleet = await fleetOf(`rules-${way}`);
      await fleet.sendRounds(5);
      await fleet.expectStoredOnce(cluster.sql);
      await ways[way]?.(fleet.user);
      // Every reading is above 50, and each partition has its devices.
      const alerted = () => {
        const alerts = heard.filter(({ topic, json }) => {
          return topic === `users/${fleet.user}/alerts` && json.rule_id === 'temperature-max';
        });
        return new Set(alerts.map(({ json }) => json.device_id)).size;
      };
      await eventually('each device has an alert', async () => {
        await fleet.sendRound();
        return alerted() === fleet.devices.length;
      });
      await eventually('the rules are told', () =>
        heard.some(({ topic, json }) => {
          const isNew = topic === `users/${fleet.user}/config` && json?.version === 2;
          return isNew && json.temperature_max === 50;
        }),
      );
    },
    TIMEOUT_MS,
  );

  test(
    'a recorded file played by way of a replica that stores none of it',
    async () => {
      const device = { user: 'recorded', name: 'machine' };
      const partition = partitionOf(`${device.user}/${device.name}`, PARTITIONS);
      const parts = await Promise.all(cluster.replicas.map(partitionsOf));
      const asked = cluster.replicas[parts.findIndex((part) => !part.includes(partition))];
      const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-recorded-'));
      leaves.push(() => rmSync(folder, { recursive: true, force: true }));
      const file = join(folder, 'file.csv');
      const rows = Array.from({ length: 5_000 }, (_, n) => {
        const time = new Date(Date.UTC(2024, 0, 1) + n * 60_000).toISOString();
        return `${time},${n % 100 < 50 ? 20 : 90}`;
      });
      await Bun.write(file, ['timestamp,value', ...rows].join('\n'));
      const load = ['src/loadtest', '--replay', file, '--map', 'value=temperature', '--json'];
      const places = ['--url', asked?.graphqlUrl as string, '--mqtt-url', cluster.mosquitto.url];
      const named = ['--user', device.user, '--device', device.name];
      const rule = ['--rule', 'temperature > 80'];
      const child = Bun.spawn([process.execPath, ...load, ...places, ...named, ...rule], {
        cwd: join(import.meta.dir, '..', '..'),
        stdout: 'pipe',
        stderr: 'ignore',
      });
      leaves.push(() => child.kill('SIGKILL'));
      const result = await new Response(child.stdout).json();
      expect(result.failures).toEqual([]);
      expect(result.rows).toMatchObject({ stored: 5_000, newlyStored: 5_000 });
      expect(result.alerts).toMatchObject({ expected: 50, newlyStored: 50 });
    },
    TIMEOUT_MS,
  );

  test(
    'one killed by kill -9: its partitions move, and an alert that it fired resolves elsewhere',
    async () => {
      const fleet = await fleetOf('killed');
      const victim = someOther(publisher());
      const moving = await partitionsOf(victim);
      const affected = fleet.devicesOn(moving, PARTITIONS);
      expect(affected.length).toBeGreaterThan(0);
      await fleet.sendRounds(15);
      const firing = async () => {
        const rows = await cluster.sql<{ device_id: string }[]>`
          SELECT device_id FROM alerts WHERE user_id = ${fleet.user} AND status = 'FIRING'`;
        return rows.length === fleet.devices.length;
      };
      await eventually('all are firing', firing, MOVES_WITHIN_MS);
      await victim.kill9();
      const others = cluster.replicas.filter((replica) => replica !== victim);
      await fleet.sendDuring(shared(others));
      await expectOnce(fleet);
      await fleet.sendDuring(victim.restart().then(() => shared(cluster.replicas)));
      await expectOnce(fleet);
    },
    TIMEOUT_MS,
  );

  test(
    'the elected publisher killed under load: another goes on where it was',
    async () => {
      const fleet = await fleetOf('publisher');
      const watches = watchAlerts(fleet);
      const victim = (await eventually('a publisher', publisher, MOVES_WITHIN_MS)) as Replica;
      await fleet.sendRounds(30);
      const others = cluster.replicas.filter((replica) => replica !== victim);
      await fleet.sendDuring(
        victim
          .kill9()
          .then(() => eventually('another one', () => others.some(isPublisher), MOVES_WITHIN_MS)),
      );
      await fleet.sendDuring(shared(others));
      await expectOnce(fleet);
      const wanted = fleet.transitionCount();
      for (const [index, { events }] of watches.entries()) {
        if (cluster.replicas[index] === victim) continue;
        await eventually('all came', () => events.length >= wanted, MOVES_WITHIN_MS);
        expectOrdered(events.map(({ seq }) => seq));
      }
      await victim.restart();
    },
    TIMEOUT_MS,
  );

  test(
    'two more come and go under load',
    async () => {
      const fleet = await fleetOf('more');
      const before = [...cluster.replicas];
      let more: Replica[] = [];
      const coming = async () => {
        more = await Promise.all([cluster.join(), cluster.join()]);
        await shared([...before, ...more]);
      };
      await fleet.sendDuring(coming());
      await fleet.sendDuring(Promise.all(more.map((replica) => replica.stop())));
      await fleet.sendDuring(shared(before));
      await expectOnce(fleet);
      for (const replica of before) {
        const { ingest } = await query(replica.graphqlUrl, '{ ingest { counters { gaps } } }');
        expect(ingest.counters.gaps).toBe(0);
      }
    },
    TIMEOUT_MS,
  );
});

/** Of the elected one's last words about it. */
function isPublisher(replica: Replica): boolean {
  const words = replica.log().match(/publisher: (elected|stepped down)/g);
  return replica.isAlive() && words?.at(-1) === 'publisher: elected';
}
