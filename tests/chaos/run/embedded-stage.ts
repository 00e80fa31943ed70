import { startTestApp } from '../../support/app.ts';
import { tcpProxy } from '../../support/tcp-proxy.ts';
import { mountSmallDisk } from './faults/disk.ts';
import { embeddedPostgresFaults } from './faults/embedded-postgres.ts';
import { networkFaults } from './faults/network.ts';
import { processFaults } from './faults/process.ts';
import type { RunFolder } from './run-folder.ts';
import type { Stage } from './stage.ts';

/** One process with its own broker, log and PostgreSQL, all on a small disk where that can be. */
export async function startEmbeddedStage(folder: RunFolder): Promise<Stage> {
  const skipped: string[] = [];
  const disk = mountSmallDisk(folder.path, (why) => skipped.push(why));
  if (disk) process.env.TMPDIR = disk.path;
  try {
    const app = await startTestApp();
    const way = await tcpProxy(app.mqttUrl);
    return {
      name: 'embedded',
      url: app.graphqlUrl,
      mqttUrl: way.url,
      faults: [
        ...processFaults(app),
        ...embeddedPostgresFaults(app),
        ...networkFaults('devices to the broker', way),
        ...(disk ? [disk.fault] : []),
      ],
      beyond: null,
      skipped,
      pids: () => [app.pid],
      logs: () => app.stderr(),
      async close() {
        try {
          await way.close();
          await app.remove();
        } finally {
          disk?.unmount();
        }
      },
    };
  } catch (error) {
    disk?.unmount();
    throw error;
  } finally {
    process.env.TMPDIR = folder.path;
  }
}
