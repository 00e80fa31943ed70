import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Column } from '../../src/domain/model.ts';
import { fieldName } from '../../src/domain/model-names.ts';
import { query } from '../support/app-clients.ts';
import {
  badMessages,
  MODELS,
  type ModelStage,
  modelStage,
  selection,
} from '../support/model-stage.ts';

/** What becomes of the readings of any model, on a real process of each. */

const LONG = 60_000;
const SQL_TYPE: Record<Column['type'], string> = {
  double: 'double precision',
  integer: 'integer',
  text: 'text',
  boolean: 'boolean',
  point: 'point',
};

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

    test(
      'a message becomes a row with the types of the model, and a reading of GraphQL',
      async () => {
        const { model, user } = on;
        const sent = await on.send('typed', { ...on.fields(), note: { deep: 'ü' } });
        await on.settled();
        const types = await on.sql<{ name: string; type: string }[]>`
        SELECT column_name AS name, data_type AS type FROM information_schema.columns
        WHERE table_name = ${model.table}`;
        const declared = Object.entries(model.columns);
        for (const [name, { type }] of declared) {
          expect(types).toContainEqual({ name, type: SQL_TYPE[type] });
        }
        const isDeclared = (name: string) => name in model.columns;
        const extra = Object.fromEntries(
          Object.entries(sent.fields).filter(([name]) => !isDeclared(name)),
        );
        const [row, ...more] = await on.rows('typed');
        expect(more).toEqual([]);
        expect(Date.parse(row?.time as string)).toBe(Date.parse(sent.time));
        expect(row).toMatchObject({
          [model.device.column]: 'typed',
          ...('column' in model.owner ? { [model.owner.column]: user } : {}),
          ...(model.sequence === null ? {} : { [model.sequence.column]: sent.sequenceId }),
          [model.extraColumn]: extra,
        });
        for (const [name, { type }] of declared) {
          const value = sent.fields[name] as Record<string, number>;
          const stored = type === 'point' ? `(${value.longitude},${value.latitude})` : value;
          expect({ [name]: row?.[name] }).toEqual({ [name]: stored });
        }
        const answer = await ask(
          `query ($user: ID!) { user(id: $user) { device(deviceId: "typed") {
           latest { time deviceId extraData ${selection(model)} }
         } } }`,
          { user },
        );
        expect(answer.user.device.latest).toEqual({
          time: sent.time,
          deviceId: 'typed',
          extraData: extra,
          ...Object.fromEntries(declared.map(([name]) => [fieldName(name), sent.fields[name]])),
        });
      },
      LONG,
    );

    test(
      'a message that comes again is stored once, in its batch and after it',
      async () => {
        const first = on.message('again');
        const second = on.message('again');
        await Promise.all([first, first, second, first].map(on.publish));
        await on.settled();
        await on.publish(first);
        await on.settled();
        expect(await on.rows('again')).toHaveLength(2);
      },
      LONG,
    );

    test(
      'every kind of bad message is a dead letter with its reason; its neighbours are stored',
      async () => {
        const bad = badMessages(on.model, on.message('mixed'));
        expect(bad.length).toBeGreaterThan(6);
        for (const message of bad) {
          await Promise.all([on.publish(on.message('mixed')), on.publish(message)]);
        }
        await on.settled();
        expect(await on.rows('mixed')).toHaveLength(bad.length);
        const { deadLetters } = await ask(
          '{ deadLetters(first: 1000) { nodes { reason topic payload } } }',
        );
        const letters = deadLetters.nodes.map(
          ({ reason, topic, payload }: { reason: string; topic: string; payload: string }) => {
            return { reason, topic, payload: Buffer.from(payload, 'base64').toString() };
          },
        );
        expect(letters).toHaveLength(bad.length);
        expect(letters).toEqual(expect.arrayContaining(bad));
      },
      LONG,
    );

    test(
      'telemetry in buckets is what was sent',
      async () => {
        const minute = Math.floor(Date.now() / 60_000) - 600;
        const values: { bucket: number; value: number }[] = [];
        for (let at = 0; at < 30; at++) {
          const sent = await on.send('charted', on.fields(), (minute * 60 + at * 9) * 1e6);
          const value = sent.fields[on.number] as number;
          values.push({ bucket: Math.floor((at * 9) / 60), value });
        }
        await on.settled();
        const { user } = await ask(
          `query ($user: ID!, $key: String!, $from: DateTime!, $to: DateTime!) {
           user(id: $user) { device(deviceId: "charted") {
             telemetry(keys: [$key], from: $from, to: $to, bucket: "PT1M") {
               known points { start count min max first last sum }
             }
           } }
         }`,
          {
            user: on.user,
            key: on.number,
            from: new Date(minute * 60_000).toISOString(),
            to: new Date((minute + 5) * 60_000).toISOString(),
          },
        );
        const [series] = user.device.telemetry;
        expect(series.known).toBe(true);
        expect(series.points).toHaveLength(5);
        const buckets = Map.groupBy(values, ({ bucket }) => bucket);
        for (const [at, inside] of buckets) {
          const bucket = inside.map(({ value }) => value);
          const { sum, ...rest } = series.points[at];
          expect(rest).toEqual({
            start: new Date((minute + at) * 60_000).toISOString(),
            count: bucket.length,
            min: Math.min(...bucket),
            max: Math.max(...bucket),
            first: bucket[0],
            last: bucket.at(-1),
          });
          expect(sum).toBeCloseTo(
            bucket.reduce((total, value) => total + value, 0),
            6,
          );
        }
      },
      LONG,
    );

    test(
      'readings page by page, either way: each once',
      async () => {
        const sent: string[] = [];
        for (let at = 0; at < 20; at++) sent.push((await on.send('listed')).time);
        await on.settled();
        for (const order of ['ASC', 'DESC']) {
          const times: string[] = [];
          let after: string | null = null;
          do {
            const { user } = await ask(
              `query ($user: ID!, $after: String, $order: Order!) {
               user(id: $user) { device(deviceId: "listed") {
                 readings(first: 7, after: $after, order: $order) {
                   nodes { time } pageInfo { hasNextPage endCursor }
                 }
               } }
             }`,
              { user: on.user, after, order },
            );
            const { nodes, pageInfo } = user.device.readings;
            times.push(...nodes.map(({ time }: { time: string }) => time));
            after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
          } while (after !== null);
          expect(times).toEqual(order === 'ASC' ? sent : sent.toReversed());
        }
      },
      LONG,
    );

    test(
      'a reading that the database refused is stored by a replay, once the cause is gone',
      async () => {
        const { table, device } = on.model;
        await on.sql.unsafe(
          `ALTER TABLE ${table} ADD CONSTRAINT unwanted CHECK (${device.column} <> 'unwanted')`,
        );
        await on.send('unwanted');
        await on.send('wanted');
        await on.settled();
        expect(await on.rows('wanted')).toHaveLength(1);
        expect(await on.rows('unwanted')).toEqual([]);
        await on.sql.unsafe(`ALTER TABLE ${table} DROP CONSTRAINT unwanted`);
        const answer = await ask(
          'mutation { replayDeadLetters(reason: "REFUSED_BY_DATABASE") { matched replayed } }',
        );
        expect(answer.replayDeadLetters).toEqual({ matched: 1, replayed: 1 });
        await on.settled();
        expect(await on.rows('unwanted')).toHaveLength(1);
      },
      LONG,
    );
  });
}
