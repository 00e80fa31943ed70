import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './process.ts';

export interface Mosquitto {
  readonly url: string;
  readonly port: number;
  /** What it has logged since its last start. */
  said(): string;
  /** SIGTERM, the default, lets it write its sessions and queues down; SIGKILL doesn't. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** On the same port and data; resolves when it takes connections. */
  start(): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

/** Debian puts it where only root's PATH looks. */
const PROGRAM = Bun.which('mosquitto', { PATH: `${process.env.PATH ?? ''}:/usr/sbin` });

/** `describe.skipIf(noMosquitto)`: never under CI, where it has to be there. */
export const noMosquitto = PROGRAM === null && process.env.CI !== 'true';

/**
 * A real Mosquitto on a free loopback port, with queues without limit that outlive a stop.
 *
 * @param options.settings further lines of mosquitto.conf; with `password_file` in them it takes
 *   nobody else
 * @param options.files files beside the configuration, which may name them by `%folder%`
 */
export async function startMosquitto(
  options: { settings?: string[]; files?: Record<string, string> } = {},
): Promise<Mosquitto> {
  if (PROGRAM === null) throw new Error('no Mosquitto: install the package mosquitto');
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-mosquitto-'));
  const port = await freePort();
  const settings = (options.settings ?? []).join('\n').replaceAll('%folder%', folder);
  for (const [name, text] of Object.entries(options.files ?? {})) {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
  }
  const config = join(folder, 'mosquitto.conf');
  writeFileSync(
    config,
    `${process.geteuid?.() === 0 ? 'user root' : ''}
listener ${port} 127.0.0.1
allow_anonymous ${settings.includes('password_file') ? 'false' : 'true'}
persistence true
persistence_location ${folder}/
max_queued_messages 0
${settings.includes('max_inflight_messages') ? '' : 'max_inflight_messages 0'}
log_dest stderr
log_type error
log_type warning
log_type notice
${settings}
`,
  );
  let child: ChildProcess | null = null;
  let said = '';

  async function start(): Promise<void> {
    said = '';
    const started = spawn(PROGRAM as string, ['-c', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    started.stderr?.on('data', (data) => {
      said = (said + data).slice(-20_000);
    });
    await eventually('Mosquitto takes connections', async () => {
      if (started.exitCode !== null) throw new Error(`Mosquitto ended:\n${said}`);
      return await takesConnections(port);
    });
  }

  async function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const stopping = child;
    child = null;
    if (stopping === null || stopping.exitCode !== null || stopping.signalCode !== null) return;
    const exited = once(stopping, 'exit');
    stopping.kill(signal);
    await exited;
  }

  async function remove(): Promise<void> {
    await stop('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }

  try {
    await start();
  } catch (error) {
    await remove();
    throw error;
  }
  return { url: `mqtt://127.0.0.1:${port}`, port, said: () => said, stop, start, remove };
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
