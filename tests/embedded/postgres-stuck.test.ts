import { expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { connect } from '../../src/store/connection.ts';
import { eventually } from '../support/process.ts';

/** The server's processes by their titles. */
function childrenOf(pid: number): Map<string, number> {
  const read = (path: string) => {
    try {
      return readFileSync(`/proc/${path}`, 'utf8');
    } catch {
      return '';
    }
  };
  const children = read(`${pid}/task/${pid}/children`).trim().split(' ').filter(Boolean);
  return new Map(children.map((child) => [read(`${child}/cmdline`), Number(child)]));
}

const titled = (pid: number, title: string) =>
  [...childrenOf(pid)].find(([name]) => name.startsWith(`postgres: ${title}`))?.[1];

test.skipIf(process.platform !== 'linux')(
  'a server whose recovery is killed is back by itself',
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-stuck-'));
    const logger = pino({ level: 'silent' });
    const postgres = await startPostgres({ dataDir, port: 0, logger, settings: { fsync: 'off' } });
    const sql = connect(postgres.url, { max: 1 });
    try {
      for (let round = 0; round < 3; round++) {
        const pid = postgres.pid();
        const writer = await eventually('it serves', () => titled(pid, 'walwriter'), 60_000);
        process.kill(writer, 'SIGKILL');
        // Missed where it is too quick; then there is nothing to survive.
        const deadline = performance.now() + 2_000;
        let recovery: number | undefined;
        while (recovery === undefined && performance.now() < deadline) {
          recovery = titled(pid, 'startup recovering');
        }
        if (recovery !== undefined) process.kill(recovery, 'SIGKILL');
        const answers = () => sql`SELECT 1`.then(() => true).catch(() => false);
        await eventually('it answers', answers, 60_000);
      }
      expect(await sql`SELECT 1 AS n`).toHaveLength(1);
    } finally {
      await sql.end({ timeout: 0 });
      await postgres.stop(2_000);
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
  240_000,
);
