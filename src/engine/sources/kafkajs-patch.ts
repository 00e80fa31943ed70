/**
 * What kafkajs needs before its first client: the codecs that it leaves to others, an end to a
 * timer that each connection of it re-arms every millisecond for ever (with a negative delay, hence
 * Bun's TimeoutNegativeWarning) though nothing waits to be sent, an end to every request, and the
 * reason why a group's coordinator is not found.
 */

import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import { CompressionCodecs, CompressionTypes } from 'kafkajs';
// @ts-expect-error: not in its types
import Cluster from 'kafkajs/src/cluster/index.js';
// @ts-expect-error: not in its types
import { KafkaJSConnectionClosedError } from 'kafkajs/src/errors.js';
// @ts-expect-error: not in its types
import Connection from 'kafkajs/src/network/connection.js';
// @ts-expect-error: not in its types
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
// @ts-expect-error: has no types
import SnappyCodec from 'kafkajs-snappy';
// @ts-expect-error: has no types
import lz4 from 'lz4js';

interface RequestQueueState {
  pending: unknown[];
  /** Epoch ms until which the broker has asked us to hold back. */
  throttledUntil: number;
}

// Our partitions are computed before kafkajs sees a message.
process.env.KAFKAJS_NO_PARTITIONER_WARNING ??= '1';

const compressZstd = promisify(zstdCompress);
const decompressZstd = promisify(zstdDecompress);

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  // Kafka refuses the frames that lz4js makes; reads of Kafka's own frames are right.
  compress: async () => {
    throw new Error('LZ4 is read, not written: choose another codec');
  },
  decompress: async (buffer: Buffer) => Buffer.from(lz4.decompress(buffer)),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder: { buffer: Buffer }) => compressZstd(encoder.buffer),
  decompress: (buffer: Buffer) => decompressZstd(buffer),
});

const schedule = RequestQueue.prototype.scheduleCheckPendingRequests as () => void;
RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueueState) {
  if (this.pending.length > 0 || this.throttledUntil > Date.now()) schedule.call(this);
};

interface ConnectionState {
  host: string;
  port: number;
  rejectRequests(error: Error): void;
}

const disconnect = Connection.prototype.disconnect as () => Promise<boolean>;
/**
 * A request that is made in the moment in which its connection closes, for instance the commit of
 * an offset to a coordinator that moves, would get neither an answer nor a timeout.
 */
Connection.prototype.disconnect = async function (this: ConnectionState) {
  const done = await disconnect.call(this);
  const { host, port } = this;
  this.rejectRequests(new KafkaJSConnectionClosedError('Closed connection', { host, port }));
  return done;
};

interface ClusterState {
  brokerPool: {
    withBroker<T>(use: (found: { broker: CoordinatorFinder }) => Promise<T>): Promise<T | null>;
  };
}
interface CoordinatorFinder {
  findGroupCoordinator(request: unknown): Promise<unknown>;
}

const findCoordinator = Cluster.prototype.findGroupCoordinatorMetadata as (
  request: unknown,
) => Promise<unknown>;
/** kafkajs forgets what the brokers have said, and calls a refusal "not found", too. */
Cluster.prototype.findGroupCoordinatorMetadata = async function (
  this: ClusterState,
  request: unknown,
) {
  try {
    return await findCoordinator.call(this, request);
  } catch (error) {
    const refusal = await this.brokerPool.withBroker(async ({ broker }) =>
      broker.findGroupCoordinator(request).then(
        () => null,
        (cause) => (cause.type === 'GROUP_AUTHORIZATION_FAILED' ? cause : null),
      ),
    );
    throw refusal ?? error;
  }
};
