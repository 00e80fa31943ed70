import { expect, test } from 'bun:test';
import { model } from '../../src/model.ts';
import { createDashboard } from '../../src/web/serve.ts';

const dashboard = createDashboard({ model });
const ask = async (path: string, init: RequestInit = {}) =>
  await dashboard(new Request(`http://127.0.0.1${path}`, init), path);
const zipped = { headers: { 'accept-encoding': 'gzip' } };

async function paths(): Promise<string[]> {
  const page = (await (await ask('/'))?.text()) ?? '';
  return [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path as string);
}

test('the whole page is below 150 KB as it is sent', async () => {
  const files = await Promise.all(['/', ...(await paths())].map((path) => ask(path, zipped)));
  let bytes = 0;
  for (const file of files) {
    expect(file?.status).toBe(200);
    expect(file?.headers.get('content-encoding')).toBe('gzip');
    bytes += (await file?.arrayBuffer())?.byteLength ?? 0;
  }
  console.log(`dashboard: ${files.length} files, ${(bytes / 1_000).toFixed(1)} KB compressed`);
  expect(bytes).toBeGreaterThan(20_000);
  expect(bytes).toBeLessThan(150_000);
});

test('nothing comes from elsewhere and nothing is inline: the policy can be strict', async () => {
  for (const path of await paths()) expect(path).toStartWith('/assets/');
  const page = await ask('/');
  const policy = page?.headers.get('content-security-policy') ?? '';
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).toContain("style-src 'self'");
  expect(policy).not.toMatch(/unsafe|\*|https?:/);
  const html = (await page?.text()) ?? '';
  expect(html).not.toMatch(/<style|style=|<script(?![^>]*src=)| on\w+=/);
});

test('the page knows the model', async () => {
  const html = (await (await ask('/'))?.text()) ?? '';
  const [, content = ''] = /<meta name="stream-model" content="([^"]*)"/.exec(html) ?? [];
  const told = JSON.parse(content.replaceAll('&quot;', '"').replaceAll('&amp;', '&'));
  expect(Object.keys(told.columns)).toEqual([...model.columnNames]);
  expect(told.topic).toBe(model.topic);
});

test('what has not changed is not sent again; assets are kept for good', async () => {
  const etag = (await ask('/'))?.headers.get('etag') ?? '';
  const again = await ask('/', { headers: { 'if-none-match': etag } });
  expect(again?.status).toBe(304);
  const [asset = ''] = await paths();
  expect((await ask(asset))?.headers.get('cache-control')).toContain('immutable');
});

test('other paths are not its own, and it is only read', async () => {
  expect(await ask('/graphql')).toBeNull();
  expect((await ask('/assets/none.js'))?.status).toBe(404);
  expect((await ask('/', { method: 'POST' }))?.status).toBe(405);
});
