import { connect } from '../../../../src/store/connection.ts';
import { processesIn, type TestApp } from '../../../support/app.ts';
import { isAlive } from '../../../support/process.ts';
import { type Fault, healed, patiently } from '../fault.ts';

const targets = ['postgres'];
const CUTS = 5;
const BETWEEN_CUTS_MS = 200;

/** The PostgreSQL below the process, which starts it again by itself. */
export function embeddedPostgresFaults(app: TestApp): Fault[] {
  return [
    {
      name: 'kill -9 of PostgreSQL',
      targets,
      holdMs: [0, 1_000],
      async inject() {
        await patiently(async () => process.kill(serverPid(app), 'SIGKILL'));
        return healed;
      },
    },
    {
      name: 'PostgreSQL stands still',
      targets,
      holdMs: [1_000, 6_000],
      async inject() {
        const pids = processesIn(app.dataDir);
        signal(pids, 'SIGSTOP');
        return async () => signal(pids, 'SIGCONT');
      },
    },
    {
      name: 'PostgreSQL ends all connections',
      targets,
      holdMs: [0, 500],
      async inject() {
        for (let cut = 0; cut < CUTS; cut++) {
          await patiently(() => endConnections(app.databaseUrl));
          await Bun.sleep(BETWEEN_CUTS_MS);
        }
        return healed;
      },
    },
  ];
}

/** Of the server that runs, not of one whose file was left. */
function serverPid(app: TestApp): number {
  const pid = app.postgresPid();
  if (!processesIn(app.dataDir).includes(pid)) {
    throw new Error(`${pid} is no PostgreSQL of this folder`);
  }
  return pid;
}

async function endConnections(url: string): Promise<void> {
  const sql = connect(url, { max: 1, applicationName: 'chaos' });
  try {
    await sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()`;
  } finally {
    await sql.end({ timeout: 0 });
  }
}

/** Some of them may have gone meanwhile. */
function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) if (isAlive(pid)) process.kill(pid, name);
}
