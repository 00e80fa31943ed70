import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './process.ts';

export interface Prometheus {
  /** The values of an instant query, by their labels. @throws Error with what was refused */
  query(expression: string): Promise<{ metric: Record<string, string>; value: number }[]>;
  /** Of every alerting rule: whether it could be evaluated, and its error. */
  rules(): Promise<{ name: string; health: string; state: string; lastError?: string }[]>;
  remove(): Promise<void>;
}

/** `describe.skipIf(noPrometheus)`: never under CI, where both have to be there. */
export const noPrometheus =
  (Bun.which('prometheus') === null || Bun.which('promtool') === null) && process.env.CI !== 'true';

const READY_MS = 60_000;

/** What promtool says of it. @throws Error where it refuses */
export async function promtool(...args: string[]): Promise<string> {
  const child = Bun.spawn(['promtool', ...args], { stdout: 'pipe', stderr: 'pipe' });
  const [out, fault] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`promtool ${args.join(' ')}: ${out}${fault}`);
  return out;
}

/** The real one on a free port of loopback. @param config in its own words */
export async function startPrometheus(config: object): Promise<Prometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-prometheus-'));
  const file = join(folder, 'prometheus.yml');
  writeFileSync(file, JSON.stringify(config));
  const url = `http://127.0.0.1:${await freePort()}`;
  const child = Bun.spawn(
    [
      'prometheus',
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${new URL(url).host}`,
      '--log.level=warn',
    ],
    { stdout: 'ignore', stderr: 'ignore' },
  );
  const remove = async () => {
    child.kill('SIGTERM');
    await child.exited;
    rmSync(folder, { recursive: true, force: true });
  };
  const isReady = async () => (await fetch(`${url}/-/ready`).catch(() => null))?.ok ?? false;
  await eventually('Prometheus is ready', isReady, READY_MS).catch(async (error) => {
    await remove();
    throw error;
  });
  const ask = async (path: string) => {
    const answer = await (await fetch(url + path)).json();
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`);
    return answer.data;
  };
  return {
    async query(expression) {
      const path = `/api/v1/query?query=${encodeURIComponent(expression)}`;
      const { result } = await ask(path);
      type Sample = { metric: Record<string, string>; value: [number, string] };
      return result.map(({ metric, value }: Sample) => ({ metric, value: Number(value[1]) }));
    },
    async rules() {
      const { groups } = await ask('/api/v1/rules');
      return groups.flatMap(({ rules }: { rules: object[] }) => rules);
    },
    remove,
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
