import { existsSync } from 'node:fs';
import axe from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM_PATH || Bun.which('chromium') || '/usr/bin/chromium';
/** In the pipeline a missing browser is a failure, not a skip. */
export const canRun = existsSync(CHROMIUM) || process.env.CI === 'true';
const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', ...QUIET],
  });
}

export interface Watched {
  page: Page;
  /** What it asked of any other server. */
  elsewhere: string[];
  /** Errors and refusals of the content security policy. */
  faults: string[];
}

/** A page in a context of its own, at the start of the dashboard. */
export async function openPage(
  browser: Browser,
  origin: string,
  options: { hash?: string; width?: number; height?: number } = {},
): Promise<Watched> {
  const { hash = '', width = 1280, height = 860 } = options;
  const context = await browser.newContext({ viewport: { width, height } });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const elsewhere: string[] = [];
  const faults: string[] = [];
  const note = (url: string) => {
    const isOwn = url.startsWith(origin) || url.startsWith(origin.replace('http', 'ws'));
    if (!isOwn && !/^(data|blob):/.test(url)) elsewhere.push(url);
  };
  page.on('request', (request) => note(request.url()));
  page.on('websocket', (socket) => note(socket.url()));
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (line) => {
    // An input that is refused while it is typed is no fault of the page.
    const isRefusal = /the server responded with a status of 400/.test(line.text());
    if (line.type() === 'error' && !isRefusal) faults.push(line.text());
  });
  await page.goto(`${origin}/${hash}`);
  return { page, elsewhere, faults };
}

/** Goes to another view of the page that is open. */
export async function visit(page: Page, hash: string): Promise<void> {
  await page.evaluate((wanted) => {
    location.hash = wanted;
  }, hash);
}

/** What axe finds, by rule and element, in words. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  return await page.evaluate(async () => {
    const { violations } = await (globalThis as never as { axe: typeof axe }).axe.run();
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
    );
  });
}

/** For a look at it: SCREENSHOTS=/tmp bun test tests/web */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}
