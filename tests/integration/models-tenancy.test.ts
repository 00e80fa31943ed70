import { expect, test } from 'bun:test';
import { createClient } from 'graphql-ws';
import { SignJWT } from 'jose';
import { MODELS, modelStage } from '../support/model-stage.ts';
import { eventually } from '../support/process.ts';

const SECRET = 'a secret of more than thirty-two characters';

function tokenOf(claims: { sub?: string; role?: string }): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) + 600;
  return new SignJWT({ ...claims, exp })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));
}

/** The whole answer, errors and all, as text. */
async function answer(url: string, token: string, document: string): Promise<string> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query: document }),
  });
  return await response.text();
}

/** What a subscription begins with: its first event, or why there is none. */
async function first(url: string, token: string, document: string): Promise<string> {
  const client = createClient({
    url: url.replace(/^http/, 'ws'),
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
  });
  const came = Promise.withResolvers<string>();
  client.subscribe(
    { query: document },
    {
      next: (result) => came.resolve(JSON.stringify(result)),
      error: (error) => came.resolve(`refused: ${JSON.stringify(error)}`),
      complete: () => came.resolve('over'),
    },
  );
  const beginning = await came.promise;
  await client.dispose();
  return beginning;
}

for (const of of MODELS) {
  test(`${of.file}: with logins on, another user sees and changes nothing`, async () => {
    const on = await modelStage(of, { AUTH_JWT_SECRET: SECRET });
    try {
      const { user } = on;
      const url = on.app.graphqlUrl;
      const [owner, stranger] = await Promise.all(
        [user, 'stranger'].map((sub) => tokenOf({ sub, role: 'user' })),
      );
      const asOwner = (document: string) => answer(url, owner as string, document);
      const asStranger = (document: string) => answer(url, stranger as string, document);
      const { key, operator, threshold } = on.simulation.signals[0] ?? ({} as never);
      const rule = { id: 'secret-rule', key, operator, threshold, message: 'secret' };
      const config = JSON.stringify({ rules: [rule] });
      await on.client.publishAsync(`users/${user}/config`, config, { qos: 1 });
      await eventually('the rule is in force', () =>
        on.heard.some(({ json }) => json?.etag && json.rules[0]?.id === 'secret-rule'),
      );
      await on.send('secret_device', on.fields(...on.simulation.signals));
      await eventually('the alert', () => on.alerts('secret-rule', 'secret_device').length > 0);

      const mine = '{ me { devices { nodes { deviceId } } alerts { nodes { ruleId } } } }';
      expect(await asOwner(mine)).toBe(
        '{"data":{"me":{"devices":{"nodes":[{"deviceId":"secret_device"}]},' +
          '"alerts":{"nodes":[{"ruleId":"secret-rule"}]}}}}',
      );
      expect(await asStranger(mine)).toBe(
        '{"data":{"me":{"devices":{"nodes":[]},"alerts":{"nodes":[]}}}}',
      );
      const { payload } = on.message('secret_device');
      const reading = payload.replace(/"(\w+)":/g, '$1:');
      const asked = [
        `{ user(id: "${user}") { devices { nodes { deviceId } } ruleSet { version } } }`,
        `mutation { setRules(userId: "${user}", rules: []) { version } }`,
        `mutation { deleteRule(userId: "${user}", ruleId: "secret-rule") { version } }`,
        `mutation { publishReading(
           userId: "${user}", deviceId: "secret_device", reading: ${reading}
         ) }`,
        '{ users { nodes { id } } }',
        '{ deadLetters { nodes { payload } } }',
      ];
      for (const document of asked) {
        const text = await asStranger(document);
        expect(text).toMatch(/"code":"(NOT_FOUND|FORBIDDEN)"|"user":null/);
        expect(text).not.toContain('secret');
      }
      const events = `subscription { alertEvents(userId: "${user}", after: 0) {
        alert { ruleId }
      } }`;
      expect(await first(url, owner as string, events)).toContain('secret-rule');
      expect(await first(url, stranger as string, events)).not.toContain('secret-rule');
      expect(await on.rows('secret_device')).toHaveLength(1);
      // Of the owner's own doing all of that goes through.
      expect(await asOwner(asked[3] as string)).toBe('{"data":{"publishReading":true}}');
      await eventually('it is stored', async () => (await on.rows('secret_device')).length === 2);
    } finally {
      await on.remove();
    }
  }, 90_000);
}
