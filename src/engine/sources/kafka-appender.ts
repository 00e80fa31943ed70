import type { Kafka, Producer } from 'kafkajs';
import type { Logger } from 'pino';
import { type LogAppender, type LogMessage, MESSAGE_TOO_LARGE } from '../../domain/log.ts';
import { backoffMs, sleep, withDeadline } from '../retry.ts';
import { createKafkaAdmin } from './kafka-admin.ts';
import { createKafkaClient, type KafkaSettings } from './kafka-client.ts';
import { createProduceQueue, type Round, type RoundLimits } from './kafka-produce-queue.ts';
import { partitionOf } from './partitioner.ts';

/** A message with headers of its own beside `topic`. */
export interface KafkaMessage extends LogMessage {
  headers?: Record<string, string>;
}

export interface KafkaAppender extends LogAppender {
  append(message: KafkaMessage): Promise<void>;
  /** Of the topic, as last seen. */
  partitions(): number;
  /** One sentence for /readyz while the brokers don't take messages. */
  health(): { ok: true } | { ok: false; reason: string };
  stats(): { appended: number; queued: number };
  /** Ends what is under way within some seconds; what waits behind it is rejected. */
  close(): Promise<void>;
}

export interface KafkaAppenderOptions {
  settings: KafkaSettings;
  topic: string;
  logger: Logger;
  /** How soon added partitions are used. Default 30 s. */
  metadataMaxAgeMs?: number;
}

const LIMITS: RoundLimits = {
  maxPartitionBytes: 2 ** 19,
  maxBytes: 4 * 2 ** 20,
  maxRecords: 5_000,
};
/** While two requests are under way the messages behind them gather. */
const MAX_ROUNDS = 2;
/**
 * A request is not sent sooner behind one with room for more: a broker works on a request, not on
 * the messages in it. Kafka's own producer waits 5 ms (linger.ms), also where nothing came before.
 */
const SPACING_MS = 4;
const CLOSE_DEADLINE_MS = 5_000;
/** A producer of kafkajs that failed so often in a row is replaced by a new one. */
const FAILURES_OF_A_PRODUCER = 3;
const CLOSING = 'not logged: the connection to Kafka is closing';
/** The broker's words for a message that it will never take. */
const PERMANENT = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD']);

/**
 * Writes into a topic: durable once all in-sync replicas have it. At most one request per partition
 * is under way, so that an order survives retries; whatever comes meanwhile goes with the next one.
 * A request whose answer is lost is sent again: its messages may be in the log twice, in order.
 * Retries for as long as the brokers are away.
 *
 * Measured with 114-byte values in 12 partitions of a broker on the same 2 cores, which others kept
 * busy (load 7): 42k messages/s with 5,000 on their way at 40 % of a core.
 */
export async function openKafkaAppender(options: KafkaAppenderOptions): Promise<KafkaAppender> {
  const { settings, topic, logger, metadataMaxAgeMs = 30_000 } = options;
  // Few: the loop below tries for ever, and says meanwhile that it does.
  const kafka = createKafkaClient(settings, logger, { retries: 2 });
  const admin = createKafkaAdmin(kafka, { topic, groupId: '' });
  const producers = createProducers(kafka, metadataMaxAgeMs);
  const queue = createProduceQueue();
  const closing = new AbortController();
  const rounds = new Set<Promise<void>>();
  let partitions = await admin.partitions();
  let fault: string | null = null;
  let appended = 0;
  let woken = false;
  let nextRoundMs = 0;

  const refresh = setInterval(() => {
    admin.partitions().then(
      (count) => {
        partitions = Math.max(partitions, count);
      },
      () => {},
    );
  }, metadataMaxAgeMs);
  refresh.unref();

  function wake(): void {
    if (woken) return;
    woken = true;
    const send = () => {
      woken = false;
      sendRounds();
    };
    const waitMs = nextRoundMs - performance.now();
    if (waitMs > 0) setTimeout(send, waitMs);
    // Not at once: what comes in the same turn of the event loop goes together.
    else setImmediate(send);
  }

  function sendRounds(): void {
    while (rounds.size < MAX_ROUNDS) {
      const round = queue.take(LIMITS);
      if (round.length === 0) return;
      nextRoundMs = performance.now() + SPACING_MS;
      const work = send(round).finally(() => {
        queue.release(round);
        rounds.delete(work);
        if (queue.size() > 0) wake();
      });
      rounds.add(work);
    }
  }

  /** Never rejects: the messages have their own answers. */
  async function send(round: Round): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await producers.send(topic, round);
        fault = null;
        appended += round.length;
        for (const { resolve } of round) resolve();
        return;
      } catch (error) {
        if (PERMANENT.has(typeOf(error) ?? '')) return refuse(round, error as Error);
        fault = `Kafka takes no messages: ${(error as Error).message}`;
        // A topic that was just made has no leaders for a moment.
        if (attempt % 10 === 3) logger.warn({ err: error, attempt }, 'Kafka takes no messages');
        await sleep(Math.min(1_000, backoffMs(attempt)), closing.signal);
        if (closing.signal.aborted) {
          for (const { reject } of round) reject(new Error(CLOSING, { cause: error }));
          return;
        }
      }
    }
  }

  /** Finds the message that the broker refuses, by halves in order. */
  async function refuse(round: Round, error: Error): Promise<void> {
    const [first] = round;
    if (round.length > 1) {
      const middle = round.length >> 1;
      await send(round.slice(0, middle));
      await send(round.slice(middle));
    } else if (first !== undefined) {
      const { value } = first.message;
      const message = `Kafka refuses a message of ${value.length} bytes: ${error.message}`;
      first.reject(
        Object.assign(new Error(message, { cause: error }), { code: MESSAGE_TOO_LARGE }),
      );
    }
  }

  return {
    append(message) {
      if (closing.signal.aborted) return Promise.reject(new Error(CLOSING));
      const partition = partitionFor(message, partitions);
      return new Promise((resolve, reject) => {
        queue.add({ message, partition, resolve, reject });
        wake();
      });
    },
    partitions: () => partitions,
    health: () => (fault === null ? { ok: true } : { ok: false, reason: fault }),
    stats: () => ({ appended, queued: queue.size() }),
    async close() {
      clearInterval(refresh);
      closing.abort();
      queue.rejectAll(new Error(CLOSING));
      await withDeadline(Promise.all(rounds), CLOSE_DEADLINE_MS, 'sending').catch(() => {});
      await Promise.all([producers.close(), admin.close()]);
    },
  };
}

/** As every client of Kafka with murmur2 has it; a message without a key goes by its topic. */
function partitionFor({ partition, key, topic }: LogMessage, partitions: number): number {
  return partition ?? partitionOf(key ?? topic, partitions);
}

/** kafkajs' producer, replaced when it seems to be stuck. */
function createProducers(kafka: Kafka, metadataMaxAge: number) {
  let current: Promise<Producer> | null = null;
  let failures = 0;

  async function connect(): Promise<Producer> {
    const producer = kafka.producer({
      allowAutoTopicCreation: false,
      metadataMaxAge,
      createPartitioner: () => (choice) => choice.message.partition as number,
      // Retries are ours: its own forget messages whose partition moves to another broker meanwhile.
      retry: { retries: 0 },
    });
    await producer.connect();
    return producer;
  }

  async function drop(used: Promise<Producer> | null): Promise<void> {
    if (current === used) current = null;
    const producer = await used?.catch(() => null);
    await producer?.disconnect().catch(() => {});
  }

  return {
    async send(topic: string, round: Round): Promise<void> {
      current ??= connect();
      const used = current;
      try {
        const producer = await used;
        const answers = await producer.send({ topic, acks: -1, messages: round.map(toMessage) });
        // It leaves out, without a word, what goes to a partition that it has not heard of yet.
        const done = new Set(answers.map(({ partition }) => partition));
        const missing = round.find(({ partition }) => !done.has(partition));
        if (missing) throw new Error(`no answer for partition ${missing.partition} of ${topic}`);
        failures = 0;
      } catch (error) {
        if (!PERMANENT.has(typeOf(error) ?? '') && ++failures % FAILURES_OF_A_PRODUCER === 0) {
          void drop(used);
        }
        throw error;
      }
    },
    close: () => drop(current),
  };
}

function toMessage({ message, partition }: Round[number]) {
  const { key, value, topic, traceparent } = message;
  const headers = traceparent ? { ...message.headers, traceparent } : message.headers;
  return {
    partition,
    key,
    value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
    headers: topic === '' ? headers : { ...headers, topic },
  };
}

/** The protocol's name of an error, wherever kafkajs has put it. */
function typeOf(error: unknown): string | null {
  const { type, cause } = error as { type?: unknown; cause?: unknown };
  if (typeof type === 'string') return type;
  return cause && cause !== error ? typeOf(cause) : null;
}
