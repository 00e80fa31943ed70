import { describe } from 'bun:test';
import { type SourceHarness, sourceContract } from '../../contracts/source.contract.ts';
import { noKafka } from '../../support/kafka.ts';
import { kafkaLog } from './kafka-log.ts';

describe.skipIf(noKafka)('Kafka', () => {
  sourceContract('Kafka', async () => {
    const log = await kafkaLog({ partitions: 3 });
    const harness: SourceHarness = {
      source: log.source(),
      partitions: 3,
      append: log.append,
      async reopen() {
        await harness.source.close();
        harness.source = log.source();
      },
      close: log.close,
    };
    return harness;
  });
});
