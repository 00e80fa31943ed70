import { expect } from 'bun:test';
import type { LogMessage } from '../../src/domain/log.ts';
import type { RuleSet } from '../../src/domain/rule.ts';
import type { RuleBook } from '../../src/engine/rule-book.ts';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import type { Sql } from '../../src/store/connection.ts';
import {
  createNaiveFleet,
  type Edit,
  type History,
  type NaiveFleet,
  type Named,
  USERS,
} from '../support/history.ts';
import { eventually } from '../support/process.ts';
import { expectForwardMoves, noteWatermarkMoves } from '../support/watermark-moves.ts';
import { message, microsAt } from './engine-stage.ts';

/** A log and a database, on which engines are started and ended. */
export interface HistoryStage {
  sql: Sql;
  /** @param how.rewind records that the group's offsets are behind */
  start(how: { rewind: number }): Promise<HistoryEngine>;
  /**
   * Starts one that reads nothing before it is released, and looks at the rules only when asked: it
   * knows those of `users` as they are now. Left out where partitions don't go to whom they should.
   */
  startLagging?(users: readonly string[]): Promise<HistoryEngine & { release(): void }>;
  append(messages: LogMessage[]): Promise<void>;
  /** Until all of the log is stored. */
  stored(): Promise<void>;
}

export interface HistoryEngine {
  rules: Pick<RuleBook, 'refresh' | 'rulesFor'>;
  /** With all it has read, or in the middle of it. */
  end(abruptly: boolean): Promise<void>;
}

const QUIET_MS = 20_000;
const MAX_ENGINES = 3;

/** Lets it happen, then compares all that is stored with the naive view of the same history. */
export async function playHistory({ actions }: History, on: HistoryStage): Promise<void> {
  const { sql } = on;
  const fleet = createNaiveFleet();
  const engines: HistoryEngine[] = [];
  let rewindBy = 0;

  async function start(): Promise<void> {
    const records = rewindBy;
    rewindBy = 0;
    engines.push(await on.start({ rewind: records }));
  }

  async function end(engine: HistoryEngine | undefined, abruptly: boolean): Promise<void> {
    if (engine === undefined) return;
    engines.splice(engines.indexOf(engine), 1);
    await engine.end(abruptly);
  }

  async function write(user: string, { by, rules, disabled }: Edit): Promise<void> {
    if (rules === null) {
      await sql`DELETE FROM user_configs WHERE user_id = ${user}`;
    } else if (by === 'SQL') {
      await sql`
        INSERT INTO user_configs (user_id, rules, disabled)
          VALUES (${user}, ${sql.json(rules)}, ${sql.json(disabled)})
        ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules, disabled = EXCLUDED.disabled`;
    } else {
      const change = () => ({ shorthands: {}, rules: rules as never, disabled });
      const result = await changeRules(sql, { userId: user, change, actor: 'test', model });
      if (result.kind !== 'ok') throw new Error(JSON.stringify(result));
    }
  }

  /** The rules as every engine knows them; null while an engine looks at what SQL has written. */
  async function knownToAll(user: string): Promise<RuleSet | null> {
    const [unread] = await sql`
      SELECT user_id FROM user_configs WHERE user_id = ${user} AND version > reviewed_version`;
    const known = engines.map(async ({ rules }) => {
      await rules.refresh();
      return (await rules.rulesFor([user])).get(user) as RuleSet;
    });
    const [first, ...others] = await Promise.all(known);
    const isKnown = others.every(({ version }) => version === first?.version);
    return unread === undefined && isKnown ? (first as RuleSet) : null;
  }

  /** Until every engine knows the rules, and every open episode was looked at under them. */
  async function inForce(user: string): Promise<void> {
    const ruleSet = await eventually('all know the rules', () => knownToAll(user), QUIET_MS);
    await eventually(
      'open episodes are looked at',
      async () => {
        const [behind] = await sql`
          SELECT device_id FROM device_state d
          WHERE user_id = ${user} AND (rules->>'version')::int <> ${ruleSet.version}
            AND EXISTS (SELECT FROM alerts a WHERE a.status = 'FIRING'
                        AND (a.user_id, a.device_id) = (d.user_id, d.device_id))
          LIMIT 1`;
        return behind === undefined;
      },
      QUIET_MS,
    );
    fleet.edited(ruleSet);
  }

  await noteWatermarkMoves(sql);
  await start();
  for (const action of actions) {
    switch (action.kind) {
      case 'send': {
        const messages = action.given.map((given) => {
          const sent = fleet.take(given);
          if (sent !== undefined) return message(sent);
          return { ...message({ ...given, at: 0, seq: 0 }), value: Buffer.from('{"time":') };
        });
        await on.append(messages);
        break;
      }
      case 'edit':
        await on.stored();
        await write(action.user, action.edit);
        await inForce(action.user);
        break;
      case 'restart':
        if (action.edit !== null) await on.stored();
        if (action.edit !== null) while (engines.length > 1) await end(engines[0], action.abruptly);
        await end(engines.at(-1), action.abruptly);
        if (action.edit !== null) await write(action.edit.user, action.edit.edit);
        await start();
        if (action.edit !== null) await inForce(action.edit.user);
        break;
      case 'rewind':
        rewindBy = action.records;
        break;
      case 'lag': {
        await on.stored();
        const lagging = await on.startLagging?.(USERS);
        await write(action.user, action.edit);
        await inForce(action.user);
        if (lagging === undefined) break;
        // Every device has seen the new rules when the one comes that has not.
        await on.append(fleet.roundOf(action.user).map(message));
        await on.stored();
        while (engines.length > 0) await end(engines[0], action.abruptly);
        engines.push(lagging);
        lagging.release();
        break;
      }
      case 'join':
        if (engines.length < MAX_ENGINES) await start();
        break;
      case 'leave':
        if (engines.length > 1) await end(engines[0], action.abruptly);
    }
  }
  await on.stored();
  while (engines.length > 0) await end(engines[0], false);
  await compare(sql, fleet);
  await expectForwardMoves(sql);
}

async function compare(sql: Sql, fleet: NaiveFleet): Promise<void> {
  const rows = await sql<
    {
      name: string;
      type: string;
      reason: string;
      time: number;
      started: number;
      since: number | null;
      sequenceId: number;
    }[]
  >`
    SELECT e.user_id || '/' || e.device_id || ' ' || e.rule_id AS name, e.type, e.time,
      CASE e.type WHEN 'RESOLVED' THEN a.resolve_reason END AS reason,
      CASE e.type WHEN 'FIRED' THEN a.holding_since END AS since,
      a.event_time AS started, a.sequence_id AS "sequenceId"
    FROM alert_events e JOIN alerts a ON a.id = e.alert_id ORDER BY e.seq`;
  const found: Record<string, Named[]> = {};
  for (const { name, type, reason, time, started, sequenceId, since } of rows) {
    found[name] ??= [];
    found[name].push({ type, reason, time, startedBy: { time: started, sequenceId }, since });
  }
  const expected = fleet.transitions();
  expect(found).toEqual(expected);

  const alerts = await sql<{ name: string }[]>`
    SELECT user_id || '/' || device_id || ' ' || rule_id AS name, status, resolve_reason AS reason,
      started_at AS "startedAt", resolved_at AS "resolvedAt" FROM alerts`;
  const episodes = Object.entries(expected).flatMap(([name, of]) => episodesOf(name, of));
  expect(inOrder(alerts)).toEqual(inOrder(episodes));

  const stored = await sql<{ key: string }[]>`
    SELECT concat(user_id, '/', device_id, ' ',
      extract(epoch FROM time)::bigint - ${microsAt(0) / 1e6}::bigint, ' ', sequence_id) AS key
    FROM raw_telemetry`;
  expect(stored.map(({ key }) => key).sort()).toEqual(fleet.stored());
  const letters = await sql`SELECT FROM dead_letters`;
  expect(letters.length).toBe(fleet.garbage());
}

/** One reading may begin several episodes: of a rule that was gone and is back. */
function inOrder(rows: readonly object[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort();
}

/** The rows of `alerts` that these transitions make. */
function episodesOf(name: string, transitions: Named[]): object[] {
  return transitions.flatMap((fired, n) => {
    if (fired.type !== 'FIRED') return [];
    const end = transitions[n + 1];
    const status = end === undefined ? 'FIRING' : 'RESOLVED';
    const reason = end?.reason ?? null;
    return [{ name, status, reason, startedAt: fired.time, resolvedAt: end?.time ?? null }];
  });
}
