import { afterAll, beforeAll, expect, test } from 'bun:test';
import { serverAudits } from 'graphql-http';
import { type Stage, stage } from './support.ts';

/** The public audit of GraphQL over HTTP. */

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

const audits = serverAudits({ url: () => `${on.server.url}/graphql`, fetchFn: fetch });

test('every MUST, SHOULD and MAY of the audit is kept', async () => {
  const kept: Record<string, number> = {};
  const missed: string[] = [];
  for (const audit of audits) {
    const result = await audit.fn();
    const level = audit.name.split(' ')[0] as string;
    if (result.status === 'ok') kept[level] = (kept[level] ?? 0) + 1;
    else missed.push(`${audit.name}: ${result.reason}`);
  }
  expect(missed).toEqual([]);
  expect(kept).toEqual({ MUST: 13, SHOULD: 23, MAY: 25 });
}, 60_000);
