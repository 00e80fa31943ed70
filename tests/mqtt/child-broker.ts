/** A broker in a process of its own, for a test to kill: `bun child-broker.ts <data file>`. */
import { startBroker } from '../../src/mqtt/broker.ts';
import { memoryLog, recordingLogger, telemetry } from './helpers.ts';

const broker = await startBroker({
  port: 0,
  dataFile: process.argv[2] as string,
  appender: memoryLog().appender,
  telemetry,
  maxPayloadBytes: 64 * 1024,
  logger: recordingLogger().logger,
});
console.log(broker.port);
