import { describe, expect, test } from 'bun:test';
import { noKafkaServer, testKafka } from './kafka.ts';
import { eventually } from './process.ts';

describe.skipIf(noKafkaServer)('the Kafka of the tests', () => {
  test('keeps its ports and data over kill -9', async () => {
    const { server, admin, topic } = await testKafka();
    const name = await topic(3);
    await server?.stop('SIGKILL');
    await server?.start();
    // The client notices its dead connection by the first request on it.
    const topics = await eventually('an answer', () =>
      admin.fetchTopicMetadata({ topics: [name] }).then(
        (metadata) => metadata.topics,
        () => null,
      ),
    );
    expect(topics[0]?.partitions).toHaveLength(3);
  }, 90_000);
});
