import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { runLoad } from '../../src/loadtest/load.ts';
import { loadFailures } from '../../src/loadtest/report.ts';
import { OPERATOR_NAMES } from '../../src/loadtest/rule-queries.ts';
import type { Signal } from '../../src/loadtest/signals.ts';
import { query, subscribe } from '../support/app-clients.ts';
import { MODELS, type ModelStage, modelStage } from '../support/model-stage.ts';
import { eventually } from '../support/process.ts';

/** Rules of any model and the whole of its load test, on a real process of each. */

const LONG = 60_000;

for (const of of MODELS) {
  describe(of.file, () => {
    let on: ModelStage;
    beforeAll(async () => {
      on = await modelStage(of);
    }, LONG);
    afterAll(async () => {
      await on.remove();
    }, LONG);
    const ask = (document: string, variables = {}) => query(on.app.graphqlUrl, document, variables);

    /** Waits until the rules in force hold it: they are broadcast. */
    const inForce = (ruleId: string) =>
      eventually(`${ruleId} is in force`, () =>
        on.heard.some(
          ({ topic, json }) =>
            topic === `users/${on.user}/config` &&
            json?.etag &&
            json.rules.some(({ id }: { id: string }) => id === ruleId),
        ),
      );
    const ruleOn = ({ key, operator, threshold }: Signal, devices: string) => {
      return { key, operator, threshold, devices, message: '{device_id}: {key} is {value}' };
    };

    test(
      'a rule by GraphQL: its alert on MQTT and WebSocket; late and again, it is silent',
      async () => {
        const signal = on.simulation.signals[0] as Signal;
        const rule = ruleOn(signal, 'watched');
        const events = subscribe(
          on.app.graphqlUrl,
          `subscription { alertEvents(userId: "${on.user}", after: 0) {
           type time message alert { ruleId device { deviceId } }
         } }`,
          'alertEvents',
        );
        await ask(
          `mutation ($user: ID!, $rule: RuleInput!) {
           upsertRule(userId: $user, rule: $rule) { version }
         }`,
          {
            user: on.user,
            rule: { ...rule, ruleId: 'door', operator: OPERATOR_NAMES[rule.operator] },
          },
        );
        await inForce('door');
        const early = on.message('watched', on.fields(signal));
        await on.send('watched');
        const fired = await on.send('watched', on.fields(signal));
        await on.send('other', on.fields(signal));
        await on.publish(early);
        const resolved = await on.send('watched');
        await on.publish(fired);
        await on.send('watched', on.fields(signal), Date.now() * 1_000 + 6 * 3_600_000_000);
        const last = await on.send('watched', on.fields(signal));
        const expected = [`FIRED ${fired.time}`, `RESOLVED ${resolved.time}`, `FIRED ${last.time}`];
        await eventually('three transitions', () => on.alerts('door', 'watched').length >= 3);
        await on.settled();
        expect(on.alerts('door', 'watched')).toEqual(expected);
        expect(on.alerts('door', 'other')).toEqual([]);
        expect(await on.rows('watched')).toHaveLength(6);
        const own = () => events.events.filter(({ alert }) => alert.ruleId === 'door');
        await eventually('the subscription has them', () => own().length >= 3);
        expect(own().map(({ type, time }) => `${type} ${time}`)).toEqual(expected);
        const { columns } = JSON.parse(JSON.stringify({ columns: fired.fields }));
        const value = columns[signal.key] ?? signal.key;
        expect(own()[0].message).toBe(`watched: ${signal.key} is ${value}`);
        await events.leave();
      },
      LONG,
    );

    test(
      'a rule by MQTT: the same, and a config with a fault changes nothing',
      async () => {
        const signal = on.simulation.signals.at(-1) as Signal;
        const rule = { id: 'by-mqtt', ...ruleOn(signal, 'by_mqtt_*') };
        const config = `users/${on.user}/config`;
        await on.client.publishAsync(config, JSON.stringify({ rules: [rule] }), { qos: 1 });
        await inForce('by-mqtt');
        const faulty = { rules: [{ ...rule, threshold: { above: 1 } }] };
        await on.client.publishAsync(config, JSON.stringify(faulty), { qos: 1 });
        await eventually('it is refused', () =>
          on.heard.some(({ topic }) => topic === `${config}/rejected`),
        );
        const fired = await on.send('by_mqtt_1', on.fields(signal));
        const resolved = await on.send('by_mqtt_1');
        await eventually('both', () => on.alerts('by-mqtt', 'by_mqtt_1').length >= 2);
        expect(on.alerts('by-mqtt', 'by_mqtt_1')).toEqual([
          `FIRED ${fired.time}`,
          `RESOLVED ${resolved.time}`,
        ]);
      },
      LONG,
    );

    test("the load test's fleet over two kill -9: nothing lost or doubled, every alert once", async () => {
      const { graphqlUrl: url, mqttUrl } = on.app;
      let crashes: Promise<void> = Promise.resolve();
      const result = await runLoad(
        {
          model: on.model,
          url,
          mqttUrl,
          protocolVersion: 4,
          json: false,
          window: 500,
          settleSeconds: 60,
          patienceSeconds: 60,
          users: 2,
          devicesPerUser: 3,
          rate: 100,
          durationSeconds: 15,
          seed: 8,
          meanCalm: 10,
        },
        {
          progress: { start() {}, stop() {} },
          stopped: new AbortController().signal,
          async onBegun({ devices }) {
            const acknowledged = () =>
              devices.reduce((sum, { ledger }) => sum + ledger.acknowledged, 0);
            crashes = (async () => {
              for (const count of [200, 700]) {
                await eventually(`${count} are acknowledged`, () => acknowledged() >= count, LONG);
                await on.app.kill();
                await on.app.restart();
              }
            })();
            crashes.catch(() => {});
            return [];
          },
        },
      );
      await crashes;
      expect(loadFailures(result)).toEqual([]);
      expect(result.readings).toMatchObject({ sent: 1_500, acknowledged: 1_500, stored: 1_500 });
      expect(result.alerts.stored.expected).toBeGreaterThan(20);
      expect(result.connections.reconnects).toBeGreaterThan(1);
    }, 180_000);
  });
}
