import { expect, test } from 'bun:test';
import { pruneRuleChanges } from '../../src/store/prune-rule-changes.ts';
import { movePublisherPosition } from '../../src/store/publisher-position.ts';
import { testDatabase } from '../support/postgres.ts';

test('old broadcast changes go, but a user s newest one stays', async () => {
  const { sql, drop } = await testDatabase();
  try {
    const before = (Date.now() + 60_000) * 1_000;
    await sql`INSERT INTO user_configs (user_id) VALUES ('u'), ('v')`;
    await sql`DELETE FROM user_configs WHERE user_id = 'u'`;
    expect(await pruneRuleChanges(sql, { before })).toBe(0);
    await movePublisherPosition(sql, { stream: 'configs', to: 3 });
    expect(await pruneRuleChanges(sql, { before: 1 })).toBe(0);
    expect(await pruneRuleChanges(sql, { before })).toBe(1);
    const left = await sql`SELECT user_id, version, kind FROM rule_changes ORDER BY seq`;
    expect(left.map((row) => Object.values(row).join(' '))).toEqual(['v 1 WRITTEN', 'u 2 DELETED']);
    await sql`INSERT INTO user_configs (user_id) VALUES ('u')`;
    const [row] = await sql`SELECT version FROM user_configs WHERE user_id = 'u'`;
    expect(row?.version).toBe(3);
  } finally {
    await drop();
  }
}, 30_000);
