import { setTimeout as sleep } from 'node:timers/promises';
import type { Broker, Cluster } from 'kafkajs';
// @ts-expect-error: not in its types
import fetchRequests from 'kafkajs/src/protocol/requests/fetch/index.js';
import {
  type AbortedTransaction,
  int64,
  openRecordRun,
  type RecordRun,
  unreadableRun,
} from './kafka-record-run.ts';

/** The one message of a batch of kafkajs that was fetched by `readAsRuns`. */
export interface RunMessage {
  /** The last one that the run covers. */
  offset: string;
  run: RecordRun;
}

/** In kafkajs, but not in its types. */
interface ProtocolRequest {
  request: { apiVersion: number };
  response: { decode(payload: Buffer): Promise<unknown>; parse(decoded: unknown): unknown };
}
type Lookup = (api: unknown, requests: unknown) => (args: unknown) => ProtocolRequest;
type FetchingBroker = Broker & {
  lookupRequest: Lookup;
  fetch(this: FetchingBroker, request: unknown): Promise<unknown>;
};

/**
 * A fetch is not sent sooner behind the one before: most of what one costs is not its records. Well
 * below the spacing of what is produced, so that it is there and waits when something comes.
 */
const SPACING_MS = 2;

/**
 * Has the consumer of this cluster fetch runs of records in place of messages: kafkajs makes an
 * object of each message with some ten others in it, which takes more time than all that we do with
 * a record. To kafkajs what came of a partition is one message at the offset of the last.
 */
export function readAsRuns(cluster: Cluster): void {
  const findBroker = cluster.findBroker.bind(cluster);
  const known = new WeakSet<Broker>();
  cluster.findBroker = async (node) => {
    const broker = (await findBroker(node)) as FetchingBroker;
    if (known.has(broker)) return broker;
    known.add(broker);
    const fetch = broker.fetch;
    let nextMs = 0;
    broker.fetch = async (request) => {
      const waitMs = nextMs - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      nextMs = performance.now() + SPACING_MS;
      return await fetch.call(readingRuns(broker), request);
    };
    return broker;
  };
}

/** The broker as its own `fetch` is to see it: answers are decoded here. */
function readingRuns(broker: FetchingBroker): FetchingBroker {
  const lookupRequest: Lookup = (api, requests) => {
    const make = broker.lookupRequest(api, requests);
    if (requests !== fetchRequests) return make;
    return (args) => {
      const made = make(args);
      const { apiVersion } = made.request;
      const decode = (payload: Buffer) => decodeFetch(payload, apiVersion);
      return { ...made, response: { decode, parse: made.response.parse } };
    };
  };
  return Object.create(broker, { lookupRequest: { value: lookupRequest } });
}

/** Versions from which the answer has a field; before 4 there are no record batches in it. */
const FIRST_VERSION = 4;
const LOG_START_OFFSET = 5;
const SESSION = 7;
const CLIENT_THROTTLES = 8;
const PREFERRED_REPLICA = 11;

/** A "Fetch Response" of the protocol's documentation, as kafkajs wants it. */
export async function decodeFetch(payload: Buffer, version: number) {
  if (version < FIRST_VERSION) {
    throw new Error(`this broker answers fetches in version ${version}: Kafka 0.11 is the oldest`);
  }
  const fields = new Fields(payload);
  const throttleTime = fields.int32();
  const errorCode = version >= SESSION ? fields.int16() : 0;
  const sessionId = version >= SESSION ? fields.int32() : 0;
  const responses = [];
  for (let topics = fields.int32(); topics > 0; topics--) {
    const topicName = fields.text();
    const partitions = [];
    for (let left = fields.int32(); left > 0; left--) {
      const decoded = await decodePartition(fields, version);
      if (saysAnything(decoded)) partitions.push(decoded);
    }
    responses.push({ topicName, partitions });
  }
  // From there on the broker has not waited itself, and expects the client to.
  const throttling =
    version >= CLIENT_THROTTLES
      ? { throttleTime: 0, clientSideThrottleTime: throttleTime }
      : { throttleTime };
  return { ...throttling, errorCode, sessionId, responses };
}

interface FetchedPartition {
  partition: number;
  errorCode: number;
  highWatermark: string;
  /** -1: none. */
  preferredReadReplica: number;
  messages: RunMessage[];
}

/**
 * Every answer has all partitions that were asked for, and kafkajs goes to great lengths over each,
 * also where nothing came: at a thousand messages a second that is most of what it does.
 */
function saysAnything({ errorCode, preferredReadReplica, messages }: FetchedPartition): boolean {
  return messages.length > 0 || errorCode !== 0 || preferredReadReplica !== -1;
}

async function decodePartition(fields: Fields, version: number): Promise<FetchedPartition> {
  const partition = fields.int32();
  const errorCode = fields.int16();
  const highWatermark = String(fields.int64());
  // The last stable offset, and the first one of the log.
  fields.skip(version >= LOG_START_OFFSET ? 16 : 8);
  const aborted: AbortedTransaction[] = [];
  for (let left = fields.int32(); left > 0; left--) {
    aborted.push({ producerId: fields.int64(), firstOffset: fields.int64() });
  }
  const preferredReadReplica = version >= PREFERRED_REPLICA ? fields.int32() : -1;
  const length = fields.int32();
  const run = length > 0 ? await openRun(fields.bytes(length), aborted, +highWatermark - 1) : null;
  const messages: RunMessage[] = run === null ? [] : [{ offset: String(run.lastOffset), run }];
  return { partition, errorCode, highWatermark, preferredReadReplica, messages };
}

/** Where it can't be read, that is its partition's lane's to tell: all others go on. */
async function openRun(
  records: Buffer,
  aborted: readonly AbortedTransaction[],
  lastOffset: number,
): Promise<RecordRun | null> {
  try {
    // A copy: a partition that is read slowly must not keep what came of all the others.
    return await openRecordRun(Buffer.from(records), aborted);
  } catch (error) {
    return unreadableRun(error as Error, lastOffset);
  }
}

/** One behind the other. Numbers are read in place: a view of each would take most of the time. */
class Fields {
  #at = 0;
  constructor(private readonly data: Buffer) {}

  bytes(length: number): Buffer {
    const at = this.skip(length);
    return this.data.subarray(at, at + length);
  }

  /** @returns where they begin */
  skip(length: number): number {
    const at = this.#at;
    this.#at += length;
    return at;
  }

  int16(): number {
    return this.data.readInt16BE(this.skip(2));
  }

  int32(): number {
    return this.data.readInt32BE(this.skip(4));
  }

  int64(): number {
    return int64(this.data, this.skip(8));
  }

  text(): string {
    return this.bytes(this.int16()).toString();
  }
}
