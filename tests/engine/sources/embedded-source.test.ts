import { createEmbeddedSource } from '../../../src/engine/sources/embedded-source.ts';
import { type SourceHarness, sourceContract } from '../../contracts/source.contract.ts';
import { temporaryLogs } from './temporary-log.ts';

sourceContract('the embedded log', async () => {
  const logs = await temporaryLogs();
  let log = await logs.open();
  const harness: SourceHarness = {
    source: createEmbeddedSource({ log, groupId: 'pulsegraph' }),
    partitions: log.partitions,
    async append(messages) {
      await Promise.all(messages.map((message) => log.append(message)));
    },
    async reopen() {
      await harness.source.close();
      await log.close();
      log = await logs.open();
      harness.source = createEmbeddedSource({ log, groupId: 'pulsegraph' });
    },
    async close() {
      await harness.source.close();
      await logs.remove();
    },
  };
  return harness;
});
