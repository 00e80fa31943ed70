import { expect, test } from 'bun:test';
import { loadConfig, SETTINGS } from '../../src/config.ts';
import { exampleEnv, interpolations, readCompose, readText } from './stack.ts';

const env = exampleEnv();
/** Read by Compose itself. */
const OF_COMPOSE = ['COMPOSE_PROFILES'];

test('every variable is a setting of Pulsegraph, or docker-compose.yml or .env.example reads it', async () => {
  const settings = Object.values(SETTINGS).map(({ name }) => name as string);
  const inCompose = (await interpolations()).map(({ name }) => name);
  const inItself = [...(await readText('.env.example')).matchAll(/\$\{(\w+)\}/g)].map(
    ([, name]) => name,
  );
  const known = [...settings, ...inCompose, ...inItself, ...OF_COMPOSE];
  const names = [...(await readText('.env.example')).matchAll(/^(\w+)=/gm)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !known.includes(name as string))).toEqual([]);
  expect(new Set(names).size, 'a variable stands there twice').toBe(names.length);
});

test('a process on this machine takes it as it is', () => {
  const config = loadConfig(env);
  expect(config).toMatchObject({
    bridge: 'off',
    mqttUrl: 'mqtt://127.0.0.1:1884',
    kafkaBrokers: expect.anything(),
    databaseUrl: `postgres://pulsegraph:${env.POSTGRES_PASSWORD}@127.0.0.1:6432/pulsegraph`,
    databaseDirectUrl: `postgres://pulsegraph:${env.POSTGRES_PASSWORD}@127.0.0.1:5432/pulsegraph`,
  });
});

test('the container takes it with what docker-compose.yml puts over it', async () => {
  const filled = { ...env, AUTH_JWT_SECRET: 'f'.repeat(64) };
  const { services } = await readCompose(filled);
  expect(services.pulsegraph?.env_file).toEqual(['.env']);
  const config = loadConfig({ ...filled, ...services.pulsegraph?.environment });
  expect(config).toMatchObject({ host: '0.0.0.0', port: 4000, mqttUrl: 'mqtt://emqx:1884' });
});

test('passwords can stand in URLs and in shell words as they are', () => {
  for (const [name, value] of Object.entries(env)) {
    if (/PASSWORD|COOKIE/.test(name)) expect(value, name).toMatch(/^[A-Za-z0-9]+$/);
  }
});
