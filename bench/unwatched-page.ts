import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser } from 'playwright-core';
import { eventually } from '../tests/support/process.ts';

/**
 * A page that nobody listens to. Of a page of its own Playwright hears each frame of a WebSocket:
 * for the page's thread as much work again as to read it, and more in the browser and in here.
 */
export interface UnwatchedPage {
  /**
   * Runs a function that needs nothing from around it in the page.
   *
   * @throws Error as it threw, or when the page does not answer
   */
  run<A>(work: (argument: A) => unknown, argument: A): Promise<unknown>;
  /** Resolves in the first frame in which `holds`. @throws Error when none comes for long */
  until<A>(holds: (argument: A) => boolean, argument: A): Promise<void>;
  /** Resolves once Chromium has little to do: a new window costs it half a second of CPU. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

interface Reply {
  id: number;
  error?: { message: string };
  result?: { result?: { value?: unknown }; exceptionDetails?: { exception?: Thrown } };
}
interface Thrown {
  description?: string;
}

const SIZE = { width: 1280, height: 860, deviceScaleFactor: 1, mobile: false };
const DEADLINE_MS = 120_000;
const LOOK_MS = 500;
/** Of a core: what a page that follows something takes while nothing happens. */
const IDLE_SHARE = 0.1;

/** In a context of its own, like any other: Playwright lets go of pages that it hasn't made. */
export async function openUnwatched(browser: Browser, url: string): Promise<UnwatchedPage> {
  const session = await browser.newBrowserCDPSession();
  const { browserContextId } = await session.send('Target.createBrowserContext');
  const { targetId } = await session.send('Target.createTarget', {
    url: 'about:blank',
    browserContextId,
  });
  const { sessionId } = await session.send('Target.attachToTarget', { targetId, flatten: false });
  const waiting = new Map<number, (reply: Reply) => void>();
  session.on('Target.receivedMessageFromTarget', (event) => {
    const reply: Reply = JSON.parse(event.message);
    waiting.get(reply.id)?.(reply);
    waiting.delete(reply.id);
  });

  let calls = 0;
  async function call(method: string, params: object): Promise<Reply['result']> {
    const id = ++calls;
    const replied = Promise.withResolvers<Reply>();
    waiting.set(id, replied.resolve);
    const message = JSON.stringify({ id, method, params });
    const late = () => replied.reject(new Error(`the page doesn't answer to ${message}`));
    const timer = setTimeout(late, DEADLINE_MS);
    await session.send('Target.sendMessageToTarget', { sessionId, message });
    const { error, result } = await replied.promise.finally(() => clearTimeout(timer));
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }
  async function evaluate(expression: string): Promise<unknown> {
    const how = { awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } =
      (await call('Runtime.evaluate', { expression, ...how })) ?? {};
    if (exceptionDetails !== undefined) throw new Error(exceptionDetails.exception?.description);
    return result?.value;
  }

  async function cpuMs(): Promise<number> {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime * 1_000, 0);
  }
  async function isIdle(): Promise<boolean> {
    const [before, since] = [await cpuMs(), performance.now()];
    await sleep(LOOK_MS);
    return (await cpuMs()) - before < IDLE_SHARE * (performance.now() - since);
  }

  await call('Emulation.setDeviceMetricsOverride', SIZE);
  // Answered once the page is another one: what is run next runs there.
  await call('Page.navigate', { url });
  return {
    run: (work, argument) => evaluate(`(${work})(${JSON.stringify(argument)})`),
    async until(holds, argument) {
      await evaluate(`(${eachFrame})(${holds}, ${JSON.stringify(argument)})`);
    },
    async settled() {
      await eventually('Chromium is idle', isIdle, DEADLINE_MS);
    },
    async close() {
      await session.send('Target.disposeBrowserContext', { browserContextId });
      await session.detach();
    },
  };
}

/** Runs in the page. */
function eachFrame<A>(holds: (argument: A) => boolean, argument: A): Promise<void> {
  return new Promise((resolve) => {
    const look = () => (holds(argument) ? resolve() : requestAnimationFrame(look));
    look();
  });
}
