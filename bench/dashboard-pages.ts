import type { Browser, Page } from 'playwright-core';
import { ALERT_EVENTS } from '../src/web/state/documents.ts';
import { query } from '../tests/support/app-clients.ts';
import { openPage } from '../tests/web/browser.ts';

/** A page that follows the alerts of all users. */
export interface FollowingPage {
  page: Page;
  /** Resolves once so many fire, as the page counts them. */
  seen(firing: number): Promise<void>;
}

/** The dashboard, at one of its views. */
export async function openDashboard(
  browser: Browser,
  graphqlUrl: string,
  hash: string,
): Promise<FollowingPage> {
  const { page } = await openPage(browser, new URL(graphqlUrl).origin, { hash });
  await page.getByRole('status').getByText('Live').waitFor();
  // Not only counted by the server: the lists are read.
  await page.locator('table.virtual tbody tr, .empty').first().waitFor();
  const count = page.locator('nav .count');
  const seen = (firing: number) =>
    firing === 0
      ? count.waitFor({ state: 'detached' })
      : count.getByText(new RegExp(`^${firing} `)).waitFor();
  return { page, seen };
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
  const { page } = await openPage(browser, new URL(graphqlUrl).origin, { hash: 'healthz' });
  const { ingest } = await query(graphqlUrl, '{ ingest { newestAlertSeq } }');
  const variables = { userId: null, after: ingest.newestAlertSeq };
  const subscribe = { id: '1', type: 'subscribe', payload: { query: ALERT_EVENTS, variables } };
  await page.evaluate(follow, { firing, subscribe });
  const seen = async (wanted: number) => {
    await page.waitForFunction((count) => {
      return (globalThis as never as { bare: Bare }).bare.firing === count;
    }, wanted);
  };
  return { page, seen };
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
