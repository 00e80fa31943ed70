import { afterEach, beforeEach, expect, test } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { EmbeddedLog } from '../../../src/engine/sources/embedded-log.ts';
import { eventually } from '../../support/process.ts';
import { type TemporaryLogs, temporaryLogs } from './temporary-log.ts';

const APPENDER = join(import.meta.dir, 'append-forever.ts');
let logs: TemporaryLogs;
let children: ChildProcess[];
beforeEach(async () => {
  logs = await temporaryLogs();
  children = [];
});
afterEach(async () => {
  for (const child of children) await kill(child);
  await logs.remove();
});

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** Starts an appender; `lines` grows with what it prints. */
function start(command: string, args: string[]): { child: ChildProcess; lines: string[] } {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const lines: string[] = [];
  if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return { child, lines };
}

/** Every number in the log, once for each record; offsets are checked to have no hole. */
function numbersIn(log: EmbeddedLog): number[] {
  const numbers: number[] = [];
  for (let partition = 0; partition < log.partitions; partition++) {
    const { earliest, end } = log.bounds(partition);
    for (let offset = earliest; offset < end; ) {
      const records = log.read(partition, offset, 1_000);
      expect(records.map((record) => record.offset)).toEqual(records.map((_, i) => offset + i));
      numbers.push(...records.map(({ value }) => Number(new TextDecoder().decode(value))));
      offset += records.length;
      if (records.length === 0) throw new Error(`partition ${partition}: no record at ${offset}`);
    }
  }
  return numbers;
}

test('a kill -9 loses nothing that was acknowledged, and nothing is there twice', async () => {
  const acknowledged: number[] = [];
  for (let round = 0; round < 4; round++) {
    const { child, lines } = start(process.execPath, [APPENDER, logs.file, `${round * 1e6}`]);
    await eventually('messages acknowledged', () => lines.length > 500 * (round + 1), 20_000);
    await kill(child);
    acknowledged.push(...lines.filter((line) => /^\d+$/.test(line)).map(Number));
    const log = await logs.open();
    const numbers = numbersIn(log);
    await log.close();
    const kept = new Set(numbers);
    expect(kept.size).toBe(numbers.length);
    expect(acknowledged.filter((number) => !kept.has(number))).toEqual([]);
  }
  expect(acknowledged.length).toBeGreaterThan(4_999);
}, 90_000);

// A real write error without root: a limit on the file's size, lifted later.
const hasTools = Bun.which('bash') !== null && Bun.which('prlimit') !== null;
test.if(process.platform === 'linux' && hasTools)(
  'a disk that refuses rejects the appends, and the log goes on when it takes them again',
  async () => {
    const limited = `trap '' XFSZ; ulimit -S -f 1000; exec "$0" "$@"`;
    const args = ['-c', limited, process.execPath, APPENDER, logs.file];
    const { child, lines } = start('bash', args);
    const refusal = await eventually(
      'an append refused',
      () => lines.find((line) => line.startsWith('refused')),
      20_000,
    );
    expect(refusal).toMatch(/refused: not logged: .*log\.db .*disk/);
    expect(refusal).toContain('{"ok":false,"reason":"the embedded log refuses messages: ');
    const before = lines.length;
    expect(Bun.spawnSync(['prlimit', '--pid', `${child.pid}`, '--fsize=unlimited']).exitCode).toBe(
      0,
    );
    const acknowledgedAgain = () => lines.slice(before).filter((line) => /^\d+$/.test(line)).length;
    await eventually('appends taken again', () => acknowledgedAgain() > 500, 20_000);
    await kill(child);
    const log = await logs.open();
    const numbers = numbersIn(log);
    const kept = new Set(numbers);
    expect(kept.size).toBe(numbers.length);
    const acknowledged = lines.filter((line) => /^\d+$/.test(line)).map(Number);
    expect(acknowledged.filter((number) => !kept.has(number))).toEqual([]);
  },
  60_000,
);
