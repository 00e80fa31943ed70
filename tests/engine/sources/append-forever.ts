/**
 * A process to be killed: appends to the log in argv[2] for ever, 200 messages in flight, and
 * prints the number of each as it is acknowledged, or why it was not. argv[3] is the first number.
 */
import { openEmbeddedLog } from '../../../src/engine/sources/embedded-log.ts';

const logger = { info() {}, warn() {}, error() {} };
const file = process.argv[2] ?? '';
const log = await openEmbeddedLog({ file, topic: 'iot-stream', partitions: 4, logger });
let next = Number(process.argv[3] ?? 0);

async function appendForever(): Promise<void> {
  for (;;) {
    const number = next++;
    const value = Buffer.from(`${number}`.padEnd(500));
    try {
      await log.append({ topic: 't', key: `u/${number % 50}`, value });
      process.stdout.write(`${number}\n`);
    } catch (error) {
      process.stdout.write(
        `refused: ${(error as Error).message} | ${JSON.stringify(log.health())}\n`,
      );
      await Bun.sleep(20);
    }
  }
}
await Promise.all(Array.from({ length: 200 }, appendForever));
