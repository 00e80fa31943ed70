import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTestApp } from './app.ts';
import { connectClient, listen, queryText } from './app-clients.ts';
import { eventually } from './process.ts';

const ROOT = join(import.meta.dir, '..', '..');
const COMMAND_DEADLINE_MS = 120_000;

/** A block of code in a README: its language, its text, and what was seen in its place. */
export interface Step {
  language: string;
  text: string;
  /** Of what a reader sees: an answer, alerts, what a command printed. */
  seen?: string;
}

/**
 * Goes through an example's README from its start as a reader would: commands in a shell, documents
 * against the API, in order, on a real process. What the README says comes out is in `text` of the
 * blocks `json` (the document before), `alerts` (since those before) and `text` (the command before).
 */
export async function walkReadme(name: string): Promise<Step[]> {
  const readme = readFileSync(join(ROOT, 'examples', name, 'README.md'), 'utf8');
  const steps: Step[] = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(
    ([, language = '', text = '']) => ({ language, text }),
  );
  const [start, ...rest] = steps;
  const settings = /^((?:[A-Z_]+=\S+ )*)npm start\n$/.exec(start?.text ?? '')?.[1];
  if (settings === undefined) throw new Error(`the first command is no start: ${start?.text}`);
  const given = settings
    .trim()
    .split(' ')
    .map((one): [string, string] => one.split('=') as [string, string]);
  // A test's data is in a folder of its own, whatever a reader is told.
  const own = given.filter(([name]) => name !== 'DATA_DIR');
  const app = await startTestApp(Object.fromEntries(own));
  const client = await connectClient(app.mqttUrl);
  const places = { '127.0.0.1:4000': app.graphqlUrl, '-p 1883': app.mqttUrl, ':1883': app.mqttUrl };
  const here = (text: string) =>
    Object.entries(places).reduce(
      (done, [from, url]) => done.replaceAll(from, from.replace(/\d+$/, new URL(url).port)),
      text,
    );
  try {
    let alerts: Awaited<ReturnType<typeof listen>> = [];
    let told = 0;
    let before = '';
    for (const step of rest) {
      const { language, text } = step;
      const topic = / mqtt sub .*-t (\S+)/.exec(text)?.[1];
      if (language === 'sh' && topic) alerts = await listen(client, topic);
      else if (language === 'sh') before = await run(here(text));
      else if (language === 'graphql') before = await ask(app.graphqlUrl, text);
      else if (language === 'alerts') {
        const count = text.trim().split('\n').length;
        await eventually(`${count} alerts`, () => alerts.length >= told + count, 20_000);
        const lines = alerts
          .slice(told)
          .map(({ json }) => `${json.type} ${json.rule_id} ${json.message}\n`);
        step.seen = lines.join('');
        told = alerts.length;
      } else step.seen = before;
    }
    return steps;
  } finally {
    await client.endAsync(true);
    await app.remove();
  }

  /** As a reader would ask: once what they sent has come through. */
  async function ask(url: string, document: string): Promise<string> {
    await eventually('all is stored', async () =>
      (await queryText(url, '{ ingest { lag } }')).includes('"lag":0'),
    );
    const { data, errors } = JSON.parse(await queryText(url, document));
    if (errors) throw new Error(`${document}: ${JSON.stringify(errors)}`);
    return `${inLines(data)}\n`;
  }
}

const WIDTH = 100;

/** JSON that is as short as a reader would write it: on one line what fits there. */
function inLines(value: unknown, indent = ''): string {
  const flat = JSON.stringify(value, null, 1).replaceAll(/\n */g, ' ');
  if (typeof value !== 'object' || value === null || indent.length + flat.length < WIDTH)
    return flat;
  const deeper = `${indent}  `;
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  const parts = Object.entries(value).map(([name, inner]) => {
    const label = Array.isArray(value) ? '' : `${JSON.stringify(name)}: `;
    return `${deeper}${label}${inLines(inner, deeper)}`;
  });
  return `${open}\n${parts.join(',\n')}\n${indent}${close}`;
}

async function run(commands: string): Promise<string> {
  const { PATH = '', HOME = '' } = process.env;
  const child = Bun.spawn(['bash', '-euo', 'pipefail', '-c', commands], {
    cwd: ROOT,
    env: { PATH, HOME },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: COMMAND_DEADLINE_MS,
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`${commands}: ${out}${err}`);
  return out;
}
