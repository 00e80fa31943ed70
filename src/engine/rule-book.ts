import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import type { RuleSet } from '../domain/rule.ts';
import type { Sql } from '../store/connection.ts';
import { giveDefaultRules } from '../store/give-default-rules.ts';
import { type RuleConfig, readRuleConfigs } from '../store/read-rule-configs.ts';
import { reviewRules } from '../store/review-rules.ts';
import { newestRuleChange, ruleChangesAfter } from '../store/rule-changes-after.ts';
import { anySilenceRule } from '../store/silent-devices.ts';
import { backoffMs } from './retry.ts';

/** The users' rules in force, as this process knows them: at most a poll behind the database. */
export interface RuleBook {
  /** Begins to follow changes. Resolves after the first attempt, also where it failed. */
  start(): Promise<void>;
  /**
   * The rules of each of these users: one who never had any gets those of the model, and where
   * that has none stays at version 0. At once where all
   * are in memory, else after one query, which rejects when the database is away.
   */
  rulesFor(
    userIds: Iterable<string>,
  ): ReadonlyMap<string, RuleSet> | Promise<ReadonlyMap<string, RuleSet>>;
  /** Whether any user, in memory or not, has a rule on missing data. */
  watchSilence(): boolean;
  /** Users whose rules are in memory. */
  size(): number;
  /** Looks for changes now: all committed before the call are known after. Never rejects. */
  refresh(): Promise<void>;
  /** Says that this process has just changed rules: they are read at once. */
  poke(): void;
  /** Calls the listener with each user's new rules, in memory or not. Returns its removal. */
  onChange(listener: (ruleSet: RuleSet) => void): () => void;
  close(): Promise<void>;
}

export interface RuleBookOptions {
  sql: Sql;
  model: Model;
  logger: Pick<Logger, 'warn' | 'info' | 'error'>;
  pollIntervalMs?: number;
  /** Users whose rules are kept in memory, the least recently used go first. */
  maxUsers?: number;
}

const PAGE = 1_000;

export function createRuleBook(options: RuleBookOptions): RuleBook {
  const { sql, model, logger, pollIntervalMs = 250, maxUsers = 50_000 } = options;
  const cache = new Map<string, RuleSet>();
  const listeners = new Set<(ruleSet: RuleSet) => void>();
  /** For each query under way, the users that changed meanwhile: its answer may be older. */
  const loads = new Set<Set<string>>();
  /** Every change up to this seq is in the cache. Known before the first user is loaded. */
  let position: number | null = null;
  let silenceIsWatched = false;
  let failures = 0;
  let poked = false;
  let closed = false;
  let endPause: (() => void) | null = null;
  let following: Promise<void> = Promise.resolve();
  let polling: Promise<void> = Promise.resolve();
  let nextPoll: Promise<void> | null = null;

  async function startPosition(): Promise<number> {
    const newest = await newestRuleChange(sql);
    if (position === null) silenceIsWatched = await anySilenceRule(sql);
    position ??= newest;
    return position;
  }

  function remember(ruleSet: RuleSet): void {
    cache.delete(ruleSet.userId);
    cache.set(ruleSet.userId, ruleSet);
    if (cache.size <= maxUsers) return;
    const oldest = cache.keys().next();
    if (!oldest.done) cache.delete(oldest.value);
  }

  async function load(missing: string[], found: Map<string, RuleSet>): Promise<typeof found> {
    const changed = new Set<string>();
    loads.add(changed);
    try {
      if (position === null) await startPosition();
      for (let ids = missing; ids.length > 0; ) {
        changed.clear();
        for (const [userId, { ruleSet }] of await configsOf(ids)) {
          if (changed.has(userId)) continue;
          found.set(userId, ruleSet);
          remember(ruleSet);
        }
        ids = ids.filter((id) => changed.has(id));
      }
      return found;
    } finally {
      loads.delete(changed);
    }
  }

  /** A user without any gets those of the model first. */
  async function configsOf(userIds: string[]): Promise<Map<string, RuleConfig>> {
    const configs = await readRuleConfigs(sql, { userIds, model });
    const without = userIds.filter((id) => configs.get(id)?.ruleSet.version === 0);
    const given = await giveDefaultRules(sql, { userIds: without, model });
    return given.length === 0 ? configs : await readRuleConfigs(sql, { userIds, model });
  }

  /** Applies every change after `position`, a page at a time. */
  async function applyChanges(): Promise<void> {
    for (let after = position ?? (await startPosition()); ; ) {
      const page = await ruleChangesAfter(sql, { after, limit: PAGE });
      const last = page.at(-1);
      if (last === undefined) return;
      const effective = page.filter((change) => change.kind !== 'WRITTEN');
      const userIds = new Set(effective.map((change) => change.userId));
      for (const load of loads) for (const userId of userIds) load.add(userId);
      const configs = await readRuleConfigs(sql, { userIds, model });
      silenceIsWatched = await anySilenceRule(sql);
      for (const [userId, { ruleSet }] of configs) {
        if (cache.has(userId)) cache.set(userId, ruleSet);
      }
      after = last.seq;
      position = after;
      for (const { ruleSet } of configs.values()) tell(ruleSet);
    }
  }

  function tell(ruleSet: RuleSet): void {
    for (const listener of listeners) {
      try {
        listener(ruleSet);
      } catch (error) {
        logger.error({ err: error, user: ruleSet.userId }, 'a listener for rules failed');
      }
    }
  }

  /** Changes are applied after each page of reviews, so that a mass of SQL writes delays nobody. */
  async function poll(): Promise<void> {
    let next: string | null = null;
    do {
      const page = await reviewRules(sql, { model, after: next });
      for (const { userId, version, issues } of page.reviews) {
        if (issues.length === 0) continue;
        const text = 'rules written by SQL are refused; the last valid ones stay in force';
        logger.warn({ user: userId, version, issues }, text);
      }
      await applyChanges();
      next = page.next;
    } while (next !== null && !closed);
  }

  async function pollOnce(): Promise<void> {
    if (closed) return;
    try {
      await poll();
      if (failures > 0) logger.info('changes of rules are followed again');
      failures = 0;
    } catch (error) {
      if (closed) return;
      failures++;
      if (failures === 1) {
        logger.warn({ err: error }, 'rules: the database is away; the last known stay in force');
      }
    }
  }

  /** Polls one at a time; those who ask before a waiting poll has begun share it. */
  function refresh(): Promise<void> {
    nextPoll ??= polling.then(() => {
      nextPoll = null;
      return pollOnce();
    });
    polling = nextPoll;
    return nextPoll;
  }

  /** A poke cuts the wait short, but not the backoff: the database is away then. */
  function pause(): Promise<void> {
    if (closed || (poked && failures === 0)) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        endPause = null;
        resolve();
      };
      const timer = setTimeout(end, failures === 0 ? pollIntervalMs : backoffMs(failures));
      endPause = end;
    });
  }

  async function follow(first: Promise<void>): Promise<void> {
    await first;
    while (!closed) {
      await pause();
      poked = false;
      await refresh();
    }
  }

  return {
    async start() {
      const first = refresh();
      following = follow(first);
      await first;
    },
    rulesFor(userIds) {
      const found = new Map<string, RuleSet>();
      const missing = new Set<string>();
      for (const userId of userIds) {
        const ruleSet = cache.get(userId);
        if (ruleSet === undefined) missing.add(userId);
        else if (!found.has(userId)) {
          found.set(userId, ruleSet);
          remember(ruleSet);
        }
      }
      return missing.size === 0 ? found : load([...missing], found);
    },
    size: () => cache.size,
    watchSilence: () => silenceIsWatched,
    refresh,
    poke() {
      poked = true;
      if (failures === 0) endPause?.();
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closed = true;
      endPause?.();
      await following;
      await polling;
    },
  };
}
