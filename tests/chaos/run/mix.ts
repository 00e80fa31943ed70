import { type Api, allPages, type Connection, inParallel } from '../../../src/loadtest/api.ts';
import { nowMicros } from '../../../src/loadtest/clock.ts';
import type { Device } from '../../../src/loadtest/devices.ts';
import { isStored } from '../../../src/loadtest/queries.ts';
import { createRandom, integerBetween, type Random } from '../../../src/loadtest/random.ts';
import type { Scope } from '../../../src/loadtest/scope.ts';
import { createSender } from '../../../src/loadtest/sender.ts';
import type { Check } from '../../../src/loadtest/settle.ts';
import { readingOf, type Simulation } from '../../../src/loadtest/simulation.ts';
import { BAD } from './bad-messages.ts';

/** Messages that no device of the fleet sends, on the fleet's own topics. */
export interface Mix {
  /** A breach of every rule, dated before all that the device has sent: stored, never alerted. */
  late(random: Random): void;
  /** The same, dated hours ahead. */
  ahead(random: Random): void;
  /** Must become a dead letter. */
  bad(random: Random): void;
  /** Resolves when a late reading of any device is known to be late. */
  warm(stopped: AbortSignal): Promise<void>;
  /** Resolves when a reading sent from now on is stored. @throws Error after two minutes */
  canary(number: number): Promise<void>;
  checks(): readonly Check[];
  /** @param foreign what the load test found besides its own readings, `user/device #sequence` */
  judge(foreign: readonly string[]): Promise<MixVerdict>;
  close(): Promise<void>;
}

export interface MixVerdict {
  late: number;
  ahead: number;
  lost: string[];
  duplicated: string[];
  /** Stored, and sent by nobody. */
  foreign: string[];
  bad: number;
  deadLetters: number;
  /** Letters of a message that came twice into the log, as QoS 1 may have it: one each. */
  redelivered: number;
  missingLetters: string[];
  doubledLetters: string[];
  /** Letters of messages that were good. */
  wrongLetters: string[];
}

interface Extra {
  kind: 'late' | 'ahead';
  userId: string;
  deviceId: string;
  sequenceId: number;
  time: number;
}

/** Above any of the fleet's. */
const FIRST_SEQUENCE_ID = 1_000_000_000;
const HOUR = 3_600_000_000;
/** By now every rule has taken a reading of the device into account. */
const SETTLED_READINGS = 20;
const CANARY_WITHIN_MS = 120_000;
const CANARY_POLL_MS = 200;
const PUMP_MS = 50;

export async function createMix(options: {
  api: Api;
  mqttUrl: string;
  scope: Scope;
  simulation: Simulation;
  devices: readonly Device[];
}): Promise<Mix> {
  const { api, simulation, devices } = options;
  const { run } = options.scope;
  const connection = { mqttUrl: options.mqttUrl, protocolVersion: 4 as const, window: 500 };
  const sender = await createSender({ ...connection, clientId: `${run}-mix` });
  const startedAt = nowMicros();
  const extras: Extra[] = [];
  const unstored = new Set<Extra>();
  const bad: string[] = [];
  const queue: { topic: string; payload: string }[] = [];
  let underWay = 0;
  let sequenceId = FIRST_SEQUENCE_ID;

  function send(topic: string, payload: string): void {
    underWay++;
    queue.push({ topic, payload });
  }
  const pump = setInterval(() => {
    while (queue.length > 0 && sender.hasRoom()) {
      const { topic, payload } = queue.shift() as (typeof queue)[0];
      sender.send(topic, payload, () => underWay--);
    }
  }, PUMP_MS);

  // Of its own: what is drawn here must not move what a seed does otherwise.
  const values = createRandom(run, 'mix');
  const breachOfAll = () => readingOf(simulation, values, () => true);
  const pick = (random: Random) => devices[integerBetween(random, 0, devices.length - 1)] as Device;

  function breachAt(kind: Extra['kind'], random: Random): void {
    const { userId, deviceId, topic } = pick(random);
    const number = ++sequenceId;
    // No two at the same time.
    const offset = number - FIRST_SEQUENCE_ID;
    const time = kind === 'late' ? startedAt - HOUR + offset : nowMicros() + 6 * HOUR;
    const extra = { kind, userId, deviceId, sequenceId: number, time };
    extras.push(extra);
    unstored.add(extra);
    send(topic, simulation.encode(time, number, breachOfAll()));
  }

  async function storedYet(): Promise<number> {
    await inParallel([...unstored], 4, async (extra) => {
      if (await isStored(api, extra)) unstored.delete(extra);
    });
    return unstored.size;
  }

  return {
    late: (random) => breachAt('late', random),
    ahead: (random) => breachAt('ahead', random),
    bad(random) {
      const device = pick(random);
      const make = BAD[bad.length % BAD.length] as (typeof BAD)[0];
      const payload = make(bad.length, nowMicros());
      bad.push(payload);
      send(device.topic, payload);
    },
    async warm(stopped) {
      const isSettled = ({ ledger }: Device) => ledger.acknowledgedUpTo >= SETTLED_READINGS;
      while (!stopped.aborted && !devices.every(isSettled)) await Bun.sleep(CANARY_POLL_MS);
    },
    async canary(number) {
      // No prefix of the run's users: the observers pass it over, and it has no rules.
      const reading = { userId: `${run}canary`, deviceId: `fault_${number}`, sequenceId: 1 };
      const time = nowMicros();
      send(simulation.topic(reading), simulation.encode(time, 1, { temperature: 1 }));
      const deadline = performance.now() + CANARY_WITHIN_MS;
      while (!(await isStored(api, { ...reading, time }).catch(() => false))) {
        if (performance.now() > deadline) throw new Error(`canary ${number} is not stored`);
        await Bun.sleep(CANARY_POLL_MS);
      }
    },
    checks: () => [
      { name: 'mixed-in messages to be acknowledged', pending: () => underWay },
      { name: 'mixed-in readings', pending: storedYet },
      {
        name: 'dead letters',
        async pending() {
          const letters = new Set((await deadLetters(api)).map(({ text }) => text));
          return bad.filter((payload) => !letters.has(payload)).length;
        },
      },
    ],
    async judge(foreign) {
      const nameOf = (extra: Extra) => `${extra.userId}/${extra.deviceId} #${extra.sequenceId}`;
      const names = extras.map(nameOf);
      const known = new Set(names);
      const found = Map.groupBy(foreign, (name) => name);
      const letters = await deadLetters(api);
      const byText = Map.groupBy(letters, ({ text }) => text);
      const places = new Set(letters.map(({ place }) => place));
      return {
        late: extras.filter(({ kind }) => kind === 'late').length,
        ahead: extras.filter(({ kind }) => kind === 'ahead').length,
        lost: names.filter((name) => !found.has(name)),
        duplicated: names.filter((name) => (found.get(name)?.length ?? 0) > 1),
        foreign: foreign.filter((name) => !known.has(name)),
        bad: bad.length,
        deadLetters: letters.length,
        redelivered: letters.length - byText.size,
        missingLetters: bad.filter((payload) => !byText.has(payload)),
        doubledLetters: places.size === letters.length ? [] : ['one record has two dead letters'],
        wrongLetters: [...byText.keys()].filter((text) => !bad.includes(text)),
      };
    },
    async close() {
      clearInterval(pump);
      await sender.close();
    },
  };
}

/** All there are: the database is the run's own. */
async function deadLetters(api: Api): Promise<{ text: string; place: string }[]> {
  type Node = { payload: string; partition: number; offset: number; logTopic: string };
  const nodes = await allPages<Node>(500, async (first, after) => {
    const { deadLetters } = await api.query<{ deadLetters: Connection<Node> }>(
      `query ChaosDeadLetters($first: Int!, $after: String) {
        deadLetters(first: $first, after: $after) {
          edges { node { payload partition offset logTopic } } pageInfo { hasNextPage endCursor }
        }
      }`,
      { first, after },
    );
    return deadLetters;
  });
  return nodes.map(({ payload, partition, offset, logTopic }) => ({
    text: Buffer.from(payload, 'base64').toString(),
    place: `${logTopic}/${partition}@${offset}`,
  }));
}
