import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EmbeddedLog,
  type EmbeddedLogOptions,
  openEmbeddedLog,
} from '../../../src/engine/sources/embedded-log.ts';

export interface TemporaryLogs {
  file: string;
  /** What the logs have said, `level: message`. */
  lines: string[];
  open(options?: Partial<EmbeddedLogOptions>): Promise<EmbeddedLog>;
  /** Closes every log and removes the folder. */
  remove(): Promise<void>;
}

/** A folder for the logs of one test. */
export async function temporaryLogs(): Promise<TemporaryLogs> {
  const folder = await mkdtemp(join(tmpdir(), 'pulsegraph-log-'));
  const file = join(folder, 'log.db');
  const open: EmbeddedLog[] = [];
  const lines: string[] = [];
  const say = (level: string) => (_figures: unknown, text?: string) => {
    lines.push(`${level}: ${text}`);
  };
  const logger = { info: say('info'), warn: say('warn'), error: say('error') };
  return {
    file,
    lines,
    async open(options) {
      const log = await openEmbeddedLog({
        file,
        topic: 'iot-stream',
        partitions: 4,
        logger,
        ...options,
      });
      open.push(log);
      return log;
    },
    async remove() {
      for (const log of open) await log.close();
      await rm(folder, { recursive: true });
    },
  };
}
