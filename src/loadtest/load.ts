import { type Api, checkReachable, createApi, inParallel } from './api.ts';
import { createDevices, expect, userIds } from './devices.ts';
import { SIGNALS } from './fleet.ts';
import { judge, type LoadResult, type Running } from './judge.ts';
import { createObserver, type Observer } from './observer.ts';
import type { LoadOptions } from './options.ts';
import { createProbe } from './probe.ts';
import type { Progress } from './progress.ts';
import { createPublisher, type Publisher, type PublisherTotals } from './publisher.ts';
import { isStored, type RuleInput, setRules } from './queries.ts';
import { type Check, settle } from './settle.ts';
import { compareTransitions, type Expectation } from './verdict.ts';

/** Rules apply within a second of the mutation's answer; the first breach waits for that. */
const RULES_IN_FORCE_MS = 1_250;
const QUIET_MS = 1_000;
const SAMPLED_DEVICES = 10;
const QUERIES_AT_ONCE = 4;

/** A run whose readings are about to be published. */
export interface Begun extends Pick<Running, 'api' | 'devices'> {
  run: string;
  /** The user who is none of the fleet's. */
  probe: string;
  /** Of what was published so far. */
  expectation(): Expectation;
}

export interface LoadContext {
  progress: Progress;
  stopped: AbortSignal;
  /** Called once; what it gives has to come to rest, too, before the verdict. */
  onBegun?(begun: Begun): Promise<readonly Check[]>;
}

/** Prepares users and rules, publishes, waits for the rest and compares. */
export async function runLoad(
  options: LoadOptions,
  { progress, stopped, onBegun }: LoadContext,
): Promise<LoadResult> {
  await checkReachable(options);
  const api = createApi(options);
  // Its own users in every run: what earlier runs left in the database is not in the way.
  const run = `load_${options.seed}_${Date.now().toString(36)}`;
  const total = Math.round(options.rate * options.durationSeconds);
  const devices = createDevices({ ...options, run, total });
  let status = 'preparing users and rules';
  progress.start(() => status);
  const probe = createProbe({ ...options, api, userId: `${run}_probe` });
  const observer = await createObserver({ ...options, run, probe });
  let publisher: Publisher | null = null;
  try {
    const ruleIds = await prepareRules(api, userIds({ ...options, run }));
    const inForce = Bun.sleep(RULES_IN_FORCE_MS);
    publisher = await createPublisher(devices, {
      ...options,
      run,
      patienceMs: options.patienceSeconds * 1000,
    });
    status = 'waiting for the first alert to come through';
    await Promise.all([probe.run(observer, stopped), inForce]);
    observer.sample(devices.filter((_, index) => index < SAMPLED_DEVICES));
    const expectation = () => expect(devices, ruleIds);
    const more = (await onBegun?.({ run, probe: probe.userId, api, devices, expectation })) ?? [];

    const startMs = performance.now();
    const totals = publisher.totals;
    progress.start(() => line({ totals: totals(), observer, total, startMs }));
    await publisher.publish(stopped);
    const publishSeconds = (performance.now() - startMs) / 1000;

    progress.start(() => `settling: ${status}`);
    const unsettled = await settle({
      checks: [...checksOf({ api, devices, observer, publisher, expectation }), ...more],
      timeoutMs: options.settleSeconds * 1000,
      onWaiting: (text) => {
        status = `waiting for ${text}`;
      },
    });
    progress.start(() => 'listing what is stored');
    const measured = { publisher, observer, devices, api, expectation: expectation() };
    return {
      run,
      users: options.users,
      devices: devices.length,
      seed: options.seed,
      rate: options.rate,
      publishSeconds,
      interrupted: stopped.aborted,
      ...(await judge(measured)),
      unsettled,
    };
  } finally {
    progress.stop();
    await Promise.all([publisher?.close(), probe.close(), observer.close()]);
  }
}

/** Sets every user's rules; gives the rule id of each of SIGNALS. */
async function prepareRules(api: Api, users: string[]): Promise<string[]> {
  const rules = fleetRules('{key} is {value} on {device_id}');
  const temperatureMax = SIGNALS[0]?.threshold ?? 0;
  const sets = await inParallel(users, QUERIES_AT_ONCE, (userId) =>
    setRules(api, { userId, temperatureMax, rules }),
  );
  const first = sets[0];
  return SIGNALS.map(({ key, operator, ruleId }) => {
    const stored = first?.rules.find((rule) => rule.key === key && rule.operator === operator);
    const id = ruleId ?? stored?.ruleId;
    if (id === undefined) throw new Error(`setRules took no rule "${key} ${operator}"`);
    return id;
  });
}

/** Of every user, beside temperatureMax. */
export function fleetRules(message: string): RuleInput[] {
  return SIGNALS.slice(1).map(({ key, operator, threshold, ruleId }) => {
    return { ...(ruleId === null ? {} : { ruleId }), key, operator, threshold, message };
  });
}

function checksOf({
  api,
  devices,
  observer,
  publisher,
  expectation,
}: Running & { expectation: () => Expectation }): Check[] {
  const unstored = new Set(devices);
  const missing = (door: 'webSocket' | 'mqtt') => {
    const { missed } = compareTransitions(expectation(), observer[door].transitions);
    return missed.length;
  };
  return [
    { name: 'acknowledgements', pending: () => publisher.totals().inFlight },
    {
      name: "devices' readings",
      async pending() {
        await inParallel([...unstored], QUERIES_AT_ONCE, async (device) => {
          const { userId, deviceId, ledger } = device;
          const sequenceId = ledger.acknowledgedUpTo;
          const reading = { userId, deviceId, sequenceId, time: ledger.timeOf(sequenceId) };
          if (sequenceId === 0 || (await isStored(api, reading))) unstored.delete(device);
        });
        return unstored.size;
      },
    },
    { name: 'alerts on the WebSocket', pending: () => missing('webSocket') },
    { name: 'alerts on MQTT', pending: () => missing('mqtt') },
    {
      name: 'second without alerts',
      pending() {
        const lastAtMs = Math.max(observer.webSocket.lastAtMs, observer.mqtt.lastAtMs);
        return performance.now() - lastAtMs < QUIET_MS ? 1 : 0;
      },
    },
  ];
}

function line(at: {
  totals: PublisherTotals;
  observer: Observer;
  total: number;
  startMs: number;
}): string {
  const { sent, acknowledged, inFlight, reconnects } = at.totals;
  const { webSocket, mqtt } = at.observer;
  const again = at.observer.reconnects();
  const seconds = ((performance.now() - at.startMs) / 1000).toFixed(0);
  return (
    `${seconds} s  sent ${sent}/${at.total}  acknowledged ${acknowledged}  ` +
    `in flight ${inFlight}  alerts ${webSocket.transitions.length} WebSocket ` +
    `${mqtt.transitions.length} MQTT  reconnects ${reconnects + again.webSocket + again.mqtt}`
  );
}
