import { expect, test } from 'bun:test';
import { exampleEnv, hoconValue, readCompose, readText } from './stack.ts';

const env = exampleEnv();
const { services } = await readCompose(env);
const conf = await readText('docker/emqx.conf');

test('denies what is not allowed, and does not acknowledge it', () => {
  expect(hoconValue(conf, 'no_match')).toBe('deny');
  expect(hoconValue(conf, 'deny_action')).toBe('disconnect');
});

test('keeps the order of a device with shared subscriptions, and client ids apart by user', () => {
  expect(hoconValue(conf, 'shared_subscription_strategy')).toBe('hash_topic');
  expect(hoconValue(conf, 'clientid_override')).toBe("concat([username, '/', clientid])");
});

test('asks the database itself, with the account that accounts.sql makes', () => {
  const { emqx, accounts } = services;
  for (const part of ['AUTHENTICATION__1', 'AUTHORIZATION__SOURCES__1']) {
    const of = (key: string) => emqx?.environment?.[`EMQX_${part}__${key}`] ?? 'missing';
    expect(of('SERVER')).toBe('timescaledb:5432');
    expect(of('DATABASE')).toBe(env.POSTGRES_DB ?? '');
    expect(of('USERNAME')).toBe(accounts?.environment?.EMQX_DATABASE_USER ?? '');
    expect(of('PASSWORD')).toBe(env.EMQX_DATABASE_PASSWORD ?? '');
  }
});

test('has balanced brackets', () => {
  const bare = conf.replace(/^\s*#.*$/gm, '').replace(/"[^"]*"/g, '""');
  for (const [open, close] of [
    ['{', '}'],
    ['[', ']'],
  ] as const) {
    expect(bare.split(open)).toHaveLength(bare.split(close).length);
  }
});
