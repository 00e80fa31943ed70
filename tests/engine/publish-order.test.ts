import { afterEach, beforeEach, expect, test } from 'bun:test';
import { until } from '../mqtt/helpers.ts';
import { PublisherStage } from './publisher-stage.ts';

const LOW = { id: 'low', key: 'battery', operator: '<', threshold: 20, message: 'Low' };
const WITHIN_MS = 20_000;

let stage: PublisherStage;
beforeEach(async () => {
  stage = new PublisherStage();
  await stage.open();
}, 30_000);
afterEach(() => stage.cleanup.end(), 30_000);

test('a publisher that lost its office as it sent a config sends none after its successor', async () => {
  const { client, on } = await stage.app('app', 'users/u/#');
  const isSending = Promise.withResolvers<void>();
  const mayGoOn = Promise.withResolvers<void>();
  const first = await stage.publisher({
    refuses: async (topic) => {
      if (topic !== 'users/u/config') return false;
      isSending.resolve();
      await mayGoOn.promise;
      return false;
    },
  });
  await stage.writeSql([LOW]);
  expect(await stage.version()).toBe(1);
  await isSending.promise;

  // It is about to send version 1, and nobody has told it yet that its lock is gone.
  const second = await stage.publisher({ wait: false });
  const ended = await stage.db.sql`
    SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = 'publisher-lock'
      AND a.datname = current_database()`;
  expect(ended).toHaveLength(1);
  await until('the second one', () => second.subscribed, WITHIN_MS);
  await stage.writeSql([{ ...LOW, threshold: 10 }]);
  expect(await stage.version()).toBe(2);
  const versions = () => on('users/u/config').map(({ version }) => version);
  await until('version 2', () => versions().includes(2), WITHIN_MS);

  mayGoOn.resolve();
  // Its term has ended when this has, and what it sent is before the marker.
  await first.close();
  await client.publishAsync('users/u/marker', '{}', { qos: 1 });
  await until('the marker', () => on('users/u/marker').length === 1, WITHIN_MS);
  expect(versions()).toEqual(versions().toSorted());
  const later = await stage.app('later', 'users/u/config');
  await until('the retained one', () => later.messages.length === 1, WITHIN_MS);
  expect(later.on('users/u/config')[0]).toMatchObject({ version: 2, rules: [{ threshold: 10 }] });
}, 60_000);
