import { expect, test } from 'bun:test';
import type { MqttAccount } from '../../src/domain/mqtt-account.ts';
import { createAccounts } from '../../src/mqtt/accounts.ts';
import { recordingLogger, until } from './helpers.ts';

const account = (username: string, passwordHash: string): MqttAccount => ({
  ...{ username, passwordHash, salt: '', isSuperuser: false, rights: [] },
});

/** Accounts in memory, whose answers can be held back or fail. */
function source() {
  const state = {
    version: 1,
    rows: new Map([['ann', account('ann', 'a')]]),
    gate: null as PromiseWithResolvers<void> | null,
    isAway: false,
    reads: 0,
  };
  return {
    state,
    async version() {
      if (state.isAway) throw new Error('away');
      return state.version;
    },
    async read(usernames: string[]) {
      state.reads++;
      if (state.isAway) throw new Error('away');
      const rows = new Map(state.rows);
      await state.gate?.promise;
      return new Map([...rows].filter(([name]) => usernames.includes(name)));
    },
  };
}

test('what was read before a change is told from what is current, and only those asked are renewed', async () => {
  const from = source();
  const { state } = from;
  const changes: [string[], string[]][] = [];
  const accounts = createAccounts({
    source: from,
    inUse: () => ['ann', 'gone'],
    onChange: (fresh, asked) => changes.push([[...fresh.keys()], [...asked]]),
    logger: recordingLogger().logger,
    pollMs: 5,
  });
  await until('the first look', () => changes.length === 1, 20_000);
  expect(changes).toEqual([[['ann'], ['ann', 'gone']]]);
  const before = await accounts.find('ann');
  expect([before.account?.passwordHash, before.isCurrent()]).toEqual(['a', true]);
  const { reads } = state;
  await Promise.all(Array.from({ length: 100 }, () => accounts.find('ann')));
  await Promise.all(Array.from({ length: 100 }, () => accounts.find('unknown')));
  expect(state.reads).toBe(reads + 1);

  state.gate = Promise.withResolvers();
  const under = accounts.find('bob');
  state.rows = new Map([['ann', account('ann', 'b')]]);
  state.version = 2;
  await until('the second look', () => !before.isCurrent(), 20_000);
  state.gate.resolve();
  expect((await under).isCurrent()).toBeFalse();
  const after = await accounts.find('ann');
  expect([after.account?.passwordHash, after.isCurrent()]).toEqual(['b', true]);
  await until('it is told', () => changes.length === 2, 20_000);

  // Away: what is known goes on, what isn't can't be had.
  state.isAway = true;
  expect((await accounts.find('ann')).account?.passwordHash).toBe('b');
  await expect(accounts.find('carl')).rejects.toThrow('away');
  await accounts.close();
}, 60_000);
