/**
 * A bridge in a process of its own, for a test to kill: `bun child-bridge.ts <broker url> <log file>
 * <MQTT version>`. Prints how many messages the log has, again and again.
 */
import { openEmbeddedLog } from '../../src/engine/sources/embedded-log.ts';
import { createBridge } from '../../src/mqtt/bridge.ts';
import { recordingLogger, telemetry } from './helpers.ts';

const [url, file, version] = process.argv.slice(2) as [string, string, string];
const { logger } = recordingLogger();
const log = await openEmbeddedLog({ file, topic: 'iot-stream', partitions: 4, logger });
const bridge = createBridge({
  url,
  protocolVersion: version === '5' ? 5 : 4,
  telemetry,
  appender: log,
  async onRejected() {},
  logger,
});
bridge.start();
let told = -1;
setInterval(() => {
  const { appended } = log.stats();
  if (!bridge.connected || appended === told) return;
  told = appended;
  console.log(appended);
}, 5);
