import type { Browser } from 'playwright-core';
import { ALERT_EVENTS } from '../src/web/state/documents.ts';
import { query } from '../tests/support/app-clients.ts';
import { openUnwatched, type UnwatchedPage } from './unwatched-page.ts';

/** A page that follows the alerts of all users. */
export interface FollowingPage {
  page: UnwatchedPage;
  /** Resolves once so many fire, as the page counts them. */
  seen(firing: number): Promise<void>;
}

/** The dashboard, at one of its views. */
export async function openDashboard(
  browser: Browser,
  graphqlUrl: string,
  hash: string,
): Promise<FollowingPage> {
  const page = await openUnwatched(browser, `${new URL(graphqlUrl).origin}/${hash}`);
  await page.until(isLive, null);
  return { page, seen: (firing) => page.until(counts, firing) };
}

/** Runs in the page. Not only counted by the server: the lists are read. */
function isLive(): boolean {
  const isListed = document.querySelector('table.virtual tbody tr, .empty') !== null;
  return isListed && document.querySelector('.connection.live') !== null;
}

/** Runs in the page. */
function counts(firing: number): boolean {
  const text = document.querySelector('nav .count')?.firstChild?.textContent ?? '0';
  return Number(text) === firing;
}

interface Bare {
  firing: number;
}

/** A page with nothing on it, which parses the events and counts. */
export async function openBare(
  browser: Browser,
  graphqlUrl: string,
  firing: number,
): Promise<FollowingPage> {
  // Of the same origin, and with no policy that keeps it from running this.
  const page = await openUnwatched(browser, `${new URL(graphqlUrl).origin}/healthz`);
  const { ingest } = await query(graphqlUrl, '{ ingest { newestAlertSeq } }');
  const variables = { userId: null, after: ingest.newestAlertSeq };
  const subscribe = { id: '1', type: 'subscribe', payload: { query: ALERT_EVENTS, variables } };
  await page.run(follow, { firing, subscribe });
  return { page, seen: (wanted) => page.until(hasCounted, wanted) };
}

/** Runs in the page. */
function hasCounted(firing: number): boolean {
  return (globalThis as never as { bare: Bare }).bare.firing === firing;
}

/** Runs in the page. */
function follow({ firing, subscribe }: Bare & { subscribe: object }): void {
  const bare = { firing };
  Object.assign(globalThis, { bare });
  const socket = new WebSocket(`ws://${location.host}/graphql`, 'graphql-transport-ws');
  const send = (message: object) => socket.send(JSON.stringify(message));
  socket.onopen = () => send({ type: 'connection_init' });
  socket.onmessage = ({ data }) => {
    const { type, payload } = JSON.parse(data);
    if (type === 'connection_ack') send(subscribe);
    else if (type === 'ping') send({ type: 'pong' });
    else if (type === 'next') {
      const event = payload.data.alertEvents.type;
      bare.firing += event === 'FIRED' ? 1 : event === 'RESOLVED' ? -1 : 0;
    }
  };
}
