import { computed, effect, signal } from '@preact/signals';
import { type ApiError, request } from './api.ts';
import { ALERT_COUNTS, ALERT_EVENTS, ALL_ALERTS, USER_ALERTS } from './documents.ts';
import { follow, poll } from './live.ts';
import { caller, userId } from './session.ts';
import type { Alert, Page, Severity } from './types.ts';

type Loaded = Alert & { events?: { seq: number }[] };

/** The newest start first: those that fire, and what was resolved of late. */
export const alerts = signal<Alert[]>([]);
export const isLoaded = signal(false);
const RANK = { INFO: 0, WARNING: 1, CRITICAL: 2 } as const;
/** By `user/device`: the worst that fires there. */
export const worstByDevice = computed(() => {
  const worst = new Map<string, Severity>();
  for (const { status, severity, user, device } of alerts.value) {
    if (status !== 'FIRING') continue;
    const key = `${user.id}/${device.deviceId}`;
    const known = worst.get(key);
    if (known === undefined || RANK[known] < RANK[severity]) worst.set(key, severity);
  }
  return worst;
});
type Counts = Partial<Record<Severity, number>>;
/** As the server counts, where more fire than the page holds. */
const counted = signal<Counts>({});
const isCut = signal(false);
/** Firing, by severity. */
export const counts = computed((): Counts => {
  if (isCut.value || !isLoaded.value) return counted.value;
  const own: Counts = {};
  for (const { status, severity } of alerts.value) {
    if (status === 'FIRING') own[severity] = (own[severity] ?? 0) + 1;
  }
  return own;
});
/** The newest event that was seen, of those shown. */
export const newestSeq = signal(0);

/** What the page holds at most. */
const MAX_ALERTS = 5_000;
const MAX_PAGES = 8;
const COUNT_MS = 5_000;
const AGAIN_MS = 1_000;

/** Between two renderings of what comes in a burst; the first of it is shown in the next frame. */
const FLUSH_MS = 100;
/** A hidden page has no frames, but its memory is to stay bounded. */
const HIDDEN_FLUSH_MS = 1_000;

const byId = new Map<string, Alert>();
let pending: Alert[] = [];
let isFlushAsked = false;
let flushedAt = Number.NEGATIVE_INFINITY;
let hiddenFlush: ReturnType<typeof setTimeout>;

/** Takes one in at once: what a mutation of this page answered. */
export function put(alert: Alert): void {
  pending.push(alert);
  if (isFlushAsked) return;
  isFlushAsked = true;
  const waitMs = flushedAt + FLUSH_MS - performance.now();
  if (waitMs > 0) setTimeout(() => requestAnimationFrame(flush), waitMs);
  else requestAnimationFrame(flush);
  hiddenFlush = setTimeout(flush, HIDDEN_FLUSH_MS);
}

/** However many came: a burst costs a sort and a rendering ten times a second. */
function flush(): void {
  if (!isFlushAsked) return;
  isFlushAsked = false;
  clearTimeout(hiddenFlush);
  flushedAt = performance.now();
  for (const alert of pending) {
    // An episode ends once: an answer that was under way meanwhile doesn't open it again.
    const isOld = alert.status === 'FIRING' && byId.get(alert.id)?.status === 'RESOLVED';
    if (!isOld) byId.set(alert.id, alert);
  }
  pending = [];
  const sorted = [...byId.values()].sort(newestFirst);
  if (sorted.length > MAX_ALERTS) cut(sorted);
  alerts.value = sorted.length > byId.size ? sorted.filter(({ id }) => byId.has(id)) : sorted;
}

/** The oldest go: resolved ones first, and those that fire only where there is no end of them. */
function cut(sorted: readonly Alert[]): void {
  for (const ended of ['RESOLVED', 'FIRING']) {
    for (let at = sorted.length - 1; at >= 0 && byId.size > MAX_ALERTS; at--) {
      const { id, status } = sorted[at] as Alert;
      if (status === ended && byId.delete(id) && status === 'FIRING') isCut.value = true;
    }
  }
}

/** Those of one instant keep their order: no row moves because of another. */
function newestFirst(a: Alert, b: Alert): number {
  return a.startedAt < b.startedAt ? 1 : a.startedAt > b.startedAt ? -1 : 0;
}

/** Follows the alerts of whoever is chosen, for as long as the page lives. */
export function startAlerts(): void {
  effect(() => {
    if (caller.value === null) return;
    const feed = startFeed(userId.value);
    const leave = poll(() => loadCounts(userId.peek()), COUNT_MS);
    return () => {
      feed();
      leave();
    };
  });
}

function startFeed(user: string | null): () => void {
  let isOver = false;
  let leave = () => {};
  byId.clear();
  alerts.value = [];
  isLoaded.value = false;
  isCut.value = false;
  newestSeq.value = 0;

  async function begin(from: number | null): Promise<void> {
    const seen = await load(user, () => isOver);
    if (isOver) return;
    isLoaded.value = true;
    resume(from ?? seen);
  }

  /** What came after the newest that was read arrives first: nothing falls between. */
  function resume(after: number): void {
    const variables = { userId: user, after };
    leave = follow<{ alertEvents: { seq: number; alert: Alert } }>(ALERT_EVENTS, variables, {
      next: ({ alertEvents: { seq, alert } }) => {
        variables.after = seq;
        newestSeq.value = seq;
        put(alert);
      },
      fail: (error) => again(error, variables.after),
    });
  }

  function again(error: ApiError, after: number): void {
    if (isOver || error.code === 'UNAUTHENTICATED') return;
    setTimeout(() => {
      if (isOver) return;
      // What is too old to be followed is read from the lists; `newest` is where events go on.
      if (error.code === 'OUT_OF_RANGE') run(Number(error.extensions.newest ?? 0));
      else resume(after);
    }, AGAIN_MS);
  }

  function run(from: number | null): void {
    begin(from).catch(() => {
      if (!isOver) setTimeout(() => run(from), AGAIN_MS);
    });
  }
  run(null);
  return () => {
    isOver = true;
    leave();
  };
}

/**
 * The newest alerts, and all that fire.
 *
 * @returns the newest seq of the first page: later pages may hold what came after it was read, and
 *   so do events
 */
async function load(user: string | null, isOver: () => boolean): Promise<number> {
  const first = await alertsPage(user, null, null);
  const newest = first.nodes.flatMap(({ events = [] }) => events.map(({ seq }) => seq));
  takeIn(first, isOver);
  let after: string | null = null;
  for (let turn = 0; turn < MAX_PAGES && !isOver(); turn++) {
    const page: Page<Loaded> = await alertsPage(user, 'FIRING', after);
    takeIn(page, isOver);
    after = page.pageInfo.endCursor;
    if (!page.pageInfo.hasNextPage) break;
    if (turn === MAX_PAGES - 1 && !isOver()) isCut.value = true;
  }
  return Math.max(0, ...newest);
}

function takeIn({ nodes }: Page<Loaded>, isOver: () => boolean): void {
  if (isOver()) return;
  for (const { events, ...alert } of nodes) put(alert);
}

async function alertsPage(
  user: string | null,
  status: string | null,
  after: string | null,
): Promise<Page<Loaded>> {
  const variables = { after, status: status === null ? null : [status] };
  if (user === null) return (await request<{ alerts: Page<Loaded> }>(ALL_ALERTS, variables)).alerts;
  type Answer = { user: { alerts: Page<Loaded> } | null };
  const answer = await request<Answer>(USER_ALERTS, { userId: user, ...variables });
  return answer.user?.alerts ?? { nodes: [], pageInfo: { hasNextPage: false, endCursor: null } };
}

async function loadCounts(user: string | null): Promise<void> {
  type Answer = { alertCounts: { severity: Severity; count: number }[] };
  if (isLoaded.peek() && !isCut.peek()) return;
  const { alertCounts } = await request<Answer>(ALERT_COUNTS, { userId: user });
  counted.value = Object.fromEntries(alertCounts.map(({ severity, count }) => [severity, count]));
}
