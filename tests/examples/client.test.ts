import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { Glob } from 'bun';
import { buildSchema, parse, validate } from 'graphql';
import { SignJWT } from 'jose';
import { createApi } from '../../examples/client/src/api.ts';
import { type AlertEvent, followAlerts } from '../../examples/client/src/follow-alerts.ts';
import { graphql } from '../../examples/client/src/graphql.ts';
import { ROOT } from '../../scripts/generate.ts';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { commitEvent, type Stage, seedAlert, stage, until } from '../schema/support.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';

const SECRET = 'a secret of more than thirty-two characters';

async function guarded(): Promise<Stage> {
  const on = await stage({ authenticate: createAuthenticate({ keys: { secret: SECRET } }) });
  await seedAlert(on.sql, { id: 'alert', userId: 'ann' });
  return on;
}

function token(seconds: number): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) + seconds;
  return new SignJWT({ sub: 'ann', exp })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));
}

test('the example follows alerts by seq over cut connections and expired tokens', async () => {
  const on = await guarded();
  const proxy = await tcpProxy(`${on.server.url}/graphql`);
  let asked = 0;
  // The fourth one ends in the middle of it.
  const api = createApi({ url: proxy.url, token: () => token(asked++ === 3 ? 2 : 3_600) });
  const committed: number[] = [];
  const got: AlertEvent[] = [];
  const commit = async () => {
    const event = { id: `e${committed.length}`, alertId: 'alert', userId: 'ann' };
    committed.push(await commitEvent(on.sql, event));
  };
  const follower = followAlerts(api, 0);
  try {
    const following = (async () => {
      for await (const event of follower) got.push(event);
    })();
    following.catch(() => {});
    for (let cuts = 0; cuts < 3; cuts++) {
      const goal = got.length + 20;
      const before = proxy.connections();
      const deadline = performance.now() + 30_000;
      while (got.length < goal && performance.now() < deadline) await commit();
      proxy.reset();
      await commit();
      await until(() => proxy.connections() > before, 20_000);
    }
    const deadline = performance.now() + 30_000;
    while (asked < 5 && performance.now() < deadline) {
      await commit();
      await Bun.sleep(50);
    }
    await until(() => got.length === committed.length, 20_000);
    expect(got.map(({ seq }) => seq)).toEqual(committed);
    expect(got[0]?.alert.device.deviceId).toBe('dev_1');
    expect(asked).toBeGreaterThanOrEqual(5);
  } finally {
    await api.close();
    await proxy.close();
    await on.close();
  }
}, 120_000);

test('the documents of the example are valid', async () => {
  const schema = buildSchema(await Bun.file(join(ROOT, 'schema.graphql')).text());
  const documents: string[] = [];
  for await (const path of new Glob('examples/client/src/*.ts').scan(ROOT)) {
    const text = await Bun.file(join(ROOT, path)).text();
    documents.push(...[...text.matchAll(/graphql\(`([^`]+)`\)/g)].map((match) => match[1] ?? ''));
  }
  expect(documents).toHaveLength(2);
  for (const document of documents) expect(validate(schema, parse(document))).toEqual([]);
});

test('the example ends where another attempt would end alike', async () => {
  const on = await guarded();
  const url = `${on.server.url}/graphql`;
  const wrong = createApi({ url, token: () => 'nonsense' });
  const right = createApi({ url, token: () => token(60) });
  const first = (after: number, api = right) =>
    followAlerts(api, after)
      .next()
      .catch((error) => error);
  try {
    expect(await first(0, wrong)).toMatchObject({ name: 'ConnectionLost', code: 4401 });
    expect(await first(1_000_000)).toMatchObject({ name: 'ApiError', code: 'OUT_OF_RANGE' });
    const Me = graphql('query Me { me { id } }');
    expect(await right.query(Me, {})).toEqual({ me: { id: 'ann' } });
    const refused = await wrong.query(Me, {}).catch((error) => error);
    expect(refused).toMatchObject({ code: 'UNAUTHENTICATED' });
  } finally {
    await wrong.close();
    await right.close();
    await on.close();
  }
}, 60_000);
