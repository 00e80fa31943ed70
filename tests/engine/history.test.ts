import { expect, test } from 'bun:test';
import fc from 'fast-check';
import type { RuleSet } from '../../src/domain/rule.ts';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import {
  createNaiveFleet,
  type Edit,
  type History,
  history,
  type Named,
} from '../support/history.ts';
import { eventually } from '../support/process.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import { expectForwardMoves, noteWatermarkMoves } from '../support/watermark-moves.ts';
import {
  type EngineStage,
  engineStage,
  message,
  microsAt,
  type RunningEngine,
} from './engine-stage.ts';

/** Each takes a second or two. */
const RUNS = Number(process.env.HISTORY_RUNS ?? 25);
/** Printed with what failed; the path leads to the one run. */
const SEED = process.env.HISTORY_SEED ? { seed: Number(process.env.HISTORY_SEED) } : {};
const PATH = process.env.HISTORY_PATH ? { path: process.env.HISTORY_PATH } : {};
const TIMEOUT_MS = 60_000 + RUNS * 10_000;
const QUIET_MS = 20_000;
const MAX_ENGINES = 3;

interface Running {
  one: RunningEngine;
  /** Between its lanes and the database. */
  proxy: TcpProxy;
}

async function play(actions: History['actions'], stage: EngineStage): Promise<void> {
  const { sql, log } = stage;
  const fleet = createNaiveFleet();
  const engines: Running[] = [];
  let rewindBy = 0;

  async function start(): Promise<void> {
    const proxy = await tcpProxy(stage.db.url);
    const back = rewindBy;
    rewindBy = 0;
    const one = await stage.start({
      laneUrl: proxy.url,
      options: { policy: { maxRows: 7, maxWaitMs: 5 } },
      wrap: (reader) => ({
        ...reader,
        committed: async () => {
          const next = await reader.committed();
          return next === null ? null : Math.max(0, next - back);
        },
      }),
    });
    engines.push({ one, proxy });
  }

  async function end(running: Running | undefined, abruptly: boolean): Promise<void> {
    if (running === undefined) return;
    engines.splice(engines.indexOf(running), 1);
    if (abruptly) running.proxy.hangUp();
    await running.one.stop(abruptly ? 0 : 5_000);
    await running.proxy.close();
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
    const known = engines.map(async ({ one }) => {
      await one.rules.refresh();
      return (await one.rules.rulesFor([user])).get(user) as RuleSet;
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
        await Promise.all(messages.map((one) => log.append(one)));
        break;
      }
      case 'edit':
        await stage.stored();
        await write(action.user, action.edit);
        await inForce(action.user);
        break;
      case 'restart':
        if (action.edit !== null) await stage.stored();
        if (action.edit !== null) while (engines.length > 1) await end(engines[0], action.abruptly);
        await end(engines.at(-1), action.abruptly);
        if (action.edit !== null) await write(action.edit.user, action.edit.edit);
        await start();
        if (action.edit !== null) await inForce(action.edit.user);
        break;
      case 'rewind':
        rewindBy = action.records;
        break;
      case 'join':
        if (engines.length < MAX_ENGINES) await start();
        break;
      case 'leave':
        if (engines.length > 1) await end(engines[0], action.abruptly);
    }
  }
  await stage.stored();
  while (engines.length > 0) await end(engines[0], false);
  await compare(stage, fleet);
  await expectForwardMoves(sql);
}

async function compare({ sql, count }: EngineStage, fleet: ReturnType<typeof createNaiveFleet>) {
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
  expect(await count('dead_letters')).toBe(fleet.garbage());
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

test(
  'whatever happens to a fleet, its rules and its engines, each transition is the one of the history',
  async () => {
    await fc.assert(
      fc.asyncProperty(history, async ({ actions }) => {
        const stage = await engineStage({ partitions: 3 });
        try {
          await play(actions, stage);
        } finally {
          await stage.close();
        }
      }),
      { numRuns: RUNS, endOnFailure: true, ...SEED, ...PATH },
    );
  },
  TIMEOUT_MS,
);
