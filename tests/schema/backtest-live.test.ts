import { afterAll, beforeAll, expect, test } from 'bun:test';
import fc from 'fast-check';
import { formatMicros } from '../../src/domain/time.ts';
import { microsAt, type RunningEngine, writeRules } from '../engine/engine-stage.ts';
import { type LogStage, logStage } from './log-stage.ts';

let stage: LogStage;
let running: RunningEngine;
beforeAll(async () => {
  stage = await logStage();
  running = await stage.engines.start();
}, 30_000);
afterAll(() => stage.close());

const rule = fc.record({
  operator: fc.constantFrom('>', '>='),
  threshold: fc.constantFrom(1, 2),
  clearAt: fc.option(fc.constantFrom(0, 1)),
  holdSeconds: fc.constantFrom(0, 2, 5),
  clearSeconds: fc.constantFrom(0, 3),
});
const series = fc.array(
  fc.record({
    after: fc.integer({ min: 1, max: 3 }),
    temperature: fc.option(fc.integer({ min: -1, max: 3 }), { freq: 6 }),
  }),
  { minLength: 1, maxLength: 80 },
);

test('in-order readings: a backtest finds the episodes that the engine has raised', async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(rule, series, series, async (given, first, second) => {
      const user = `user${++run}`;
      const hold = (seconds: number) => (seconds > 0 ? `PT${seconds}S` : undefined);
      const json = {
        ...{ id: 'r', key: 'temperature', operator: given.operator, threshold: given.threshold },
        ...{ message: '{value} on {device_id}', for: hold(given.holdSeconds) },
        clear: { threshold: given.clearAt ?? undefined, for: hold(given.clearSeconds) },
      };
      await writeRules(stage.on.sql, user, [json], running);
      const sent = Object.entries({ a: first, b: second }).flatMap(([device, list]) => {
        let at = 0;
        return list.map(({ after, temperature }, seq) => {
          at += after;
          return { user, device, at, seq, temperature };
        });
      });
      await stage.engines.send(...sent);
      await stage.engines.stored();
      const { id: ruleId, operator, ...rest } = json;
      const { data, errors } = await stage.on.query(
        `query ($user: ID!, $rule: RuleInput!, $from: DateTime!, $to: DateTime!) {
          user(id: $user) {
            backtest(rule: $rule, from: $from, to: $to) { readings episodeCount liveEpisodes
              episodes { deviceId startedAt holdingSince resolvedAt lastSeenAt message } }
            alerts(first: 1000) { nodes { device { deviceId } startedAt resolvedAt lastSeenAt
              message evidence { holdingSince } } } } }`,
        {
          user,
          rule: { ruleId, operator: operator === '>' ? 'GT' : 'GTE', ...rest },
          from: formatMicros(microsAt(0)),
          to: formatMicros(microsAt(1_000)),
        },
      );
      expect(errors).toBeUndefined();
      const { backtest, alerts } = data.user;
      const live = alerts.nodes.map(
        ({ device, evidence, ...alert }: Record<string, Record<string, unknown>>) => ({
          ...alert,
          deviceId: device?.deviceId,
          holdingSince: evidence?.holdingSince,
        }),
      );
      const order = (one: { deviceId: string; startedAt: string }) => one.deviceId + one.startedAt;
      live.sort((a: never, b: never) => (order(a) < order(b) ? -1 : 1));
      expect(backtest.episodes).toEqual(live);
      expect(backtest).toMatchObject({
        ...{ readings: sent.length, episodeCount: live.length, liveEpisodes: live.length },
      });
    }),
    { numRuns: 40 },
  );
}, 120_000);
