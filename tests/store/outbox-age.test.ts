import { expect, test } from 'bun:test';
import { outboxAgeSeconds } from '../../src/store/outbox-age.ts';
import { markAlertsPublished } from '../../src/store/publisher-position.ts';
import { testDatabase } from '../support/postgres.ts';

test('the age is that of the oldest transition above what was sent', async () => {
  const { sql, drop } = await testDatabase();
  try {
    expect(await outboxAgeSeconds(sql)).toBe(0);
    await sql`
      INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
        severity, message, time, started_at, created_at)
      SELECT n, n, n, 'FIRED', 'FIRING', 'u', 'd', 'r', 'INFO', '', now(), now(),
        now() - n * interval '1 hour'
      FROM generate_series(1, 3) n`;
    const hours = async () => Math.floor((await outboxAgeSeconds(sql)) / 3_600);
    expect(await hours()).toBe(1);
    await markAlertsPublished(sql, { from: 0, to: 2 });
    expect(await hours()).toBe(3);
    await markAlertsPublished(sql, { from: 2, to: 3 });
    expect(await hours()).toBe(0);
  } finally {
    await drop();
  }
}, 30_000);
