import { describe, expect, test } from 'bun:test';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { parseOptions } from '../../src/loadtest/options.ts';

const root = join(import.meta.dir, '../..');

function parse(...argv: string[]) {
  let out = '';
  let err = '';
  const parsed = parseOptions(argv, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  return { parsed, out, err };
}

describe('the command line', () => {
  test('has a default for everything', () => {
    expect(parse().parsed).toMatchObject({
      kind: 'load',
      options: { users: 30, devicesPerUser: 3, rate: 200, durationSeconds: 60, protocolVersion: 4 },
    });
  });

  test('takes a replay with its columns and rules', () => {
    const { parsed } = parse(
      ...['--replay', 'm.csv', '--device', 'machine_1', '--map', 'value=temperature'],
      ...['--map', 'r p m=engine.rpm', '--rule', 'temperature < 20 CRITICAL "Cold: {value}"'],
      ...['--rule', 'engine.rpm>=-1.5'],
    );
    expect(parsed).toMatchObject({
      kind: 'replay',
      options: {
        file: 'm.csv',
        timeColumn: 'timestamp',
        userId: 'replay',
        rate: Number.POSITIVE_INFINITY,
        columns: [
          { column: 'value', field: 'temperature' },
          { column: 'r p m', field: 'engine.rpm' },
        ],
        rules: [
          { key: 'temperature', operator: '<', threshold: 20, message: 'Cold: {value}' },
          { key: 'engine.rpm', operator: '>=', threshold: -1.5, severity: 'WARNING' },
        ],
      },
    });
  });

  test('names the faulty option and what to write', () => {
    const faults: [argv: string[], says: RegExp][] = [
      [['--users', '0'], /--users.*whole number from 1 to 9999/],
      [['--rate', 'fast'], /--rate.*above 0/],
      [['--rate', 'max'], /--rate max goes with --replay only/],
      [['--rate', '10', '--duration', '1'], /10 messages, fewer than 90 devices/],
      [['--url', 'localhost:4000'], /--url.*http:\/\/host:port/],
      [['--mqtt-url', 'http://x'], /--mqtt-url.*mqtt:\/\/host:port/],
      [['--mqtt-version', '3'], /--mqtt-version.*4, 5/],
      [['--map', 'a=b'], /--map needs --replay/],
      [['--replay', 'x.csv', '--device', 'd'], /needs --map/],
      [['--replay', 'x.csv', '--map', 'a=b'], /needs --device/],
      [['--replay', 'x.csv', '--map', 'a', '--device', 'd'], /--map.*CSVCOLUMN=FIELD/],
      [['--replay', 'x.csv', '--map', 'a=b', '--device', 'a/b'], /--device.*no \/ \+ #/],
      [['--replay', 'x.csv', '--map', 'a=b', '--device', 'd', '--seed', '1'], /--seed does not go/],
      [['--replay', 'x.csv', '--map', 'a=b', '--device', 'd', '--rule', 'hot'], /--rule.*< 20/],
      [['--unheard-of'], /unknown option/],
    ];
    for (const [argv, says] of faults) {
      const { parsed, err } = parse(...argv);
      expect([argv, parsed]).toEqual([argv, { kind: 'exit', code: 2 }]);
      expect(err).toMatch(says);
    }
  });

  test('--help is no fault', () => {
    const { parsed, out, err } = parse('--help');
    expect(parsed).toEqual({ kind: 'exit', code: 0 });
    expect(out).toContain('--devices-per-user');
    expect(err).toBe('');
  });
});

describe('the process', () => {
  async function run(...argv: string[]) {
    const child = Bun.spawn([process.execPath, join(root, 'src/loadtest'), ...argv], {
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { out, err, code };
  }

  async function freePort(): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    await new Promise((resolve) => server.close(resolve));
    return typeof address === 'object' && address ? address.port : 0;
  }

  test('ends with 2 and one line where no server listens', async () => {
    const url = `http://127.0.0.1:${await freePort()}/graphql`;
    const { out, err, code } = await run('--url', url, '--json');
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(/^error: --url http.*Start the process first.*\n$/);
  }, 20_000);

  test('ends with 2 where the server speaks no GraphQL', async () => {
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch: () => new Response('hello', { status: 404 }),
    });
    try {
      const { err, code } = await run('--url', `http://127.0.0.1:${server.port}/`);
      expect(code).toBe(2);
      expect(err).toContain('HTTP 404 and no GraphQL answer');
    } finally {
      await server.stop(true);
    }
  }, 20_000);

  test('ends with 2 where the file is not there', async () => {
    const { err, code } = await run(
      ...['--replay', join(root, 'no-such.csv'), '--map', 'a=b', '--device', 'd'],
    );
    expect(code).toBe(2);
    expect(err).toMatch(/--replay .*no-such\.csv: ENOENT/);
  }, 20_000);
});
