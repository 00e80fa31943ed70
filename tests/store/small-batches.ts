import type { Fired, Transition } from '../../src/domain/alert.ts';
import type { Rule } from '../../src/domain/rule.ts';
import { model } from '../../src/model.ts';
import type { Sql } from '../../src/store/connection.ts';
import type { DeviceState } from '../../src/store/device-state.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { lockWatermark } from '../../src/store/watermark.ts';
import type { SmallBatch } from '../../src/store/write-at-once.ts';

export const START = Date.UTC(2024, 4, 1) * 1_000;
export const TIMES = { coveredAt: START + 9, flowingSince: START };
const RULE = { key: 'temperature', operator: '>', threshold: 80, message: 'hot' };
const RULE_VERSION = 4;

export type SmallBatches = ReturnType<typeof smallBatches>;

/** Batches of a partition, one behind the other: of two devices of a user. */
export function smallBatches(partition: number, userId: string) {
  const log = { logId: 'log', topic: 'topic', partition };
  const ruleVersions: ReadonlyMap<string, number> = new Map([[userId, RULE_VERSION]]);
  const device = { userId, deviceId: 'd1' };
  const episode = (n: number) => ({ alertId: `${userId} a${n}`, ...device });

  const stateOf = (deviceId: string, version: number): DeviceState => ({
    ...{ userId, deviceId, partition, version },
    ...{ firstSeenAt: START, newestTime: START + version, lastArrivalAt: START },
    memory: { version: RULE_VERSION, rules: {} },
  });

  const fired = (n: number): Fired => ({
    ...{ type: 'FIRED', eventId: `${userId} e${n}`, ...episode(n) },
    rule: { ...RULE, id: 'hot', severity: 'WARNING' } as Rule,
    ...{ ruleVersion: RULE_VERSION, message: 'hot', value: 90.5 },
    ...{ time: START + n, holdingSince: START + n, eventTime: START + n, sequenceId: n },
    evidence: { partition, offset: n, arrival: START },
  });

  const resolved = (n: number): Transition =>
    ({
      ...{ type: 'RESOLVED', eventId: `${userId} r${n}`, ...episode(n) },
      ...{ ruleId: 'hot', value: 20, time: START + n + 1, reason: 'CLEARED' },
    }) as Transition;

  /** The n-th, from 1: a reading of each device, and what is given. */
  function batchOf(n: number, what: Partial<SmallBatch> = {}): SmallBatch {
    const readings = ['d2', 'd1'].map((deviceId) => ({
      reading: {
        ...{ userId, deviceId, time: START + n, sequenceId: n, extra: null },
        columns: { temperature: 90.5, battery: null },
      },
      extraText: deviceId === 'd1' ? '{"pressure":100.10}' : null,
    }));
    return {
      log,
      from: { ...TIMES, offset: n - 2 },
      to: { ...TIMES, offset: n - 1 },
      readings,
      states: [stateOf('d2', n), stateOf('d1', n)],
      transitions: [],
      held: [],
      ruleVersions: new Map(),
      ...what,
    };
  }

  /** The n-th, with an alert that fires. */
  const firing = (n: number) => batchOf(n, { transitions: [fired(n)], ruleVersions });

  return { log, userId, ruleVersions, stateOf, fired, resolved, batchOf, firing };
}

/** Makes what their first batches find: a table for the readings, watermarks and rules. */
export async function makeReady(sql: Sql, ...lanes: SmallBatches[]): Promise<void> {
  await createPartitionMaker(sql, model).ensure([START]);
  for (const { log } of lanes) await lockWatermark(sql, log);
  await sql.begin(async (tx) => {
    // Past the triggers, which would have the rules reviewed first.
    await tx`SET LOCAL session_replication_role = replica`;
    for (const { userId } of lanes) {
      await tx`INSERT INTO user_configs (user_id, rules, version, accepted_version, reviewed_version)
        VALUES (${userId}, '[]', ${RULE_VERSION}, ${RULE_VERSION}, ${RULE_VERSION})`;
    }
  });
}

/** How many readings, versions of states, alerts and events are stored; and all watermarks' sum. */
export async function counts(sql: Sql): Promise<number[]> {
  const [row] = await sql`SELECT (SELECT count(*) FROM raw_telemetry) AS readings,
    (SELECT sum(version) FROM device_state) AS versions, (SELECT count(*) FROM alerts) AS alerts,
    (SELECT count(*) FROM alert_events) AS events,
    (SELECT sum(watermark) FROM watermarks) AS watermarks`;
  const { readings, versions, alerts, events, watermarks } = row as Record<string, unknown>;
  return [readings, versions, alerts, events, watermarks].map(Number);
}
