import { expect, test } from 'bun:test';
import { testDatabase } from './postgres.ts';

test('each database has the schema and is its own', async () => {
  const [one, two] = await Promise.all([testDatabase(), testDatabase()]);
  try {
    await one.sql`INSERT INTO user_configs (user_id, rules) VALUES ('user_1', '[]'::jsonb)`;
    const [inOne] = await one.sql<{ n: number }[]>`SELECT count(*) AS n FROM user_configs`;
    const [inTwo] = await two.sql<{ n: number }[]>`SELECT count(*) AS n FROM user_configs`;
    expect([inOne?.n, inTwo?.n]).toEqual([1, 0]);
  } finally {
    await Promise.all([one.drop(), two.drop()]);
  }
}, 30_000);
