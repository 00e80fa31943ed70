import { expect, test } from 'bun:test';
import { model } from '../../src/model.ts';
import { migrate } from '../../src/store/migrate.ts';
import { testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { engineStage, HOT, microsAt, writeRules } from './engine-stage.ts';

/** The last version before rules had `for`, `clear`, devices that are off, and `noData`. */
const BEFORE = 8;
const ENABLED = { severity: 'WARNING', enabled: true };
const COLD = { id: 'cold', key: 'temperature', operator: '<', threshold: 0, message: 'cold' };

test('alerts that were open before the upgrade go on, and end', async () => {
  const database = await testDatabase({ empty: true });
  const { sql } = database;
  await migrate(sql, model, { upTo: BEFORE });
  const rules = [HOT, COLD].map((rule) => ({ ...rule, ...ENABLED }));
  await sql`INSERT INTO user_configs (user_id, rules) VALUES ('ann', ${sql.json(rules as never)})`;
  const content = sql.json({ shorthands: {}, rules } as never);
  await sql`
    UPDATE user_configs SET accepted = ${content}, accepted_version = 1, reviewed_version = 1`;
  for (const device of ['goes-on', 'ends', 'rule-goes']) {
    const rule = device === 'rule-goes' ? COLD : HOT;
    const episode = { alertId: device, lastSeenAt: microsAt(10) };
    const seen = { time: microsAt(10), sequenceId: 1 };
    const measures = `${rule.key} ${rule.operator}`;
    const memory = { version: 1, rules: { [rule.id]: { ...seen, measures, episode } } };
    await sql`
      INSERT INTO device_state VALUES
        ('ann', ${device}, 0, 1, ${microsAt(0)}, ${microsAt(10)}, ${microsAt(10)}, ${sql.json(memory as never)})`;
    await sql`
      INSERT INTO alerts (id, user_id, device_id, rule_id, rule_version, status, severity, message,
        key, operator, threshold, value, started_at, last_seen_at,
        partition, "offset", sequence_id, event_time, arrival_time)
      VALUES (${device}, 'ann', ${device}, ${rule.id}, 1, 'FIRING', 'WARNING', 'm',
        ${rule.key}, ${rule.operator}, ${sql.json(rule.threshold)}, ${sql.json(90)},
        ${microsAt(10)}, ${microsAt(10)}, 0, 0, 1, ${microsAt(10)}, ${microsAt(10)})`;
  }
  await migrate(sql, model);

  const stage = await engineStage({ database });
  try {
    const one = await stage.start();
    await stage.send(
      { device: 'goes-on', at: 10, seq: 1, temperature: 70 },
      { device: 'goes-on', at: 11, seq: 2, temperature: 95 },
      { device: 'ends', at: 11, seq: 2, temperature: 70 },
    );
    await stage.stored();
    expect(await stage.events()).toEqual(['RESOLVED hot ends @ 11']);
    // In the new words; the one that was edited is judged by what was seen since.
    await writeRules(sql, 'ann', [{ ...HOT, threshold: 94, clear: { threshold: 90 } }], one);
    await eventually('the deleted rule s alert is over', async () =>
      (await stage.events()).includes('RESOLVED cold rule-goes @ 10'),
    );
    await stage.send({ device: 'goes-on', at: 12, seq: 3, temperature: 91 });
    await stage.stored();
    const open = await sql`SELECT id, value, last_seen_at FROM alerts WHERE status = 'FIRING'`;
    expect([...open]).toEqual([{ id: 'goes-on', value: 91, last_seen_at: microsAt(12) }]);
    await stage.send({ device: 'goes-on', at: 13, seq: 4, temperature: 90 });
    await stage.stored();
    expect(await stage.events()).toEqual([
      'RESOLVED hot ends @ 11',
      'RESOLVED cold rule-goes @ 10',
      'RESOLVED hot goes-on @ 13',
    ]);
  } finally {
    await stage.close();
    await database.drop();
  }
}, 60_000);
