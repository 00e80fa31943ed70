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

/** What the page holds at most; older resolved ones go first. */
const MAX_ALERTS = 5_000;
const MAX_PAGES = 8;
const COUNT_MS = 5_000;
const AGAIN_MS = 1_000;

const byId = new Map<string, Alert>();
let pending: Alert[] = [];
let isFrameAsked = false;

/** Takes one in at once: what a mutation of this page answered. */
export function put(alert: Alert): void {
  pending.push(alert);
  if (isFrameAsked) return;
  isFrameAsked = true;
  requestAnimationFrame(flush);
  // No frames while the page is hidden, but memory is to stay bounded.
  if (document.hidden) setTimeout(flush, 1_000);
}

/** Once a frame, however many came: a burst costs one sort and one rendering. */
function flush(): void {
  isFrameAsked = false;
  for (const alert of pending) {
    // An episode ends once: an answer that was under way meanwhile doesn't open it again.
    const isOld = alert.status === 'FIRING' && byId.get(alert.id)?.status === 'RESOLVED';
    if (!isOld) byId.set(alert.id, alert);
  }
  pending = [];
  const sorted = [...byId.values()].sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1));
  for (let at = sorted.length - 1; at >= 0 && byId.size > MAX_ALERTS; at--) {
    const { id, status } = sorted[at] as Alert;
    if (status === 'RESOLVED') byId.delete(id);
  }
  alerts.value = sorted.length > byId.size ? sorted.filter(({ id }) => byId.has(id)) : sorted;
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

/** All that fire and the newest of the others. @returns the newest seq among them */
async function load(user: string | null, isOver: () => boolean): Promise<number> {
  let newest = 0;
  for (const [status, pages] of [
    ['FIRING', MAX_PAGES],
    [null, 1],
  ] as const) {
    let after: string | null = null;
    for (let turn = 0; turn < pages; turn++) {
      const page: Page<Loaded> = await alertsPage(user, status, after);
      if (isOver()) return newest;
      for (const { events = [], ...alert } of page.nodes) {
        newest = Math.max(newest, ...events.map(({ seq }) => seq));
        put(alert);
      }
      after = page.pageInfo.endCursor;
      if (!page.pageInfo.hasNextPage) break;
      if (turn === MAX_PAGES - 1) isCut.value = true;
    }
  }
  return newest;
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
