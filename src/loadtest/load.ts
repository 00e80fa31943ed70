import type { Model } from '../domain/model.ts';
import { checkReachable, createApi, inParallel } from './api.ts';
import { createDevices, expect, userIds } from './devices.ts';
import { createFleetRules } from './fleet-rules.ts';
import { judge, type LoadResult, type Running } from './judge.ts';
import { createObserver, type Observer } from './observer.ts';
import type { LoadOptions } from './options.ts';
import { createProbe } from './probe.ts';
import type { Progress } from './progress.ts';
import { createPublisher, type Publisher, type PublisherTotals } from './publisher.ts';
import { isStored } from './queries.ts';
import { createScope } from './scope.ts';
import { type Check, settle } from './settle.ts';
import { createSimulation } from './simulation.ts';
import { compareTransitions, type Expectation } from './verdict.ts';

/** Rules apply within a second of the mutation's answer; the first breach waits for that. */
const RULES_IN_FORCE_MS = 1_250;
const QUIET_MS = 1_000;
const SAMPLED_DEVICES = 10;
const QUERIES_AT_ONCE = 4;

/** A run whose readings are about to be published. */
export interface Begun extends Pick<Running, 'api' | 'devices' | 'scope' | 'simulation'> {
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
  options: LoadOptions & { model: Model },
  { progress, stopped, onBegun }: LoadContext,
): Promise<LoadResult> {
  const simulation = createSimulation(options.model);
  await checkReachable(options);
  const api = createApi(options);
  // Its own users or devices in every run: what earlier runs left is not in the way.
  const run = `load_${options.seed}_${Date.now().toString(36)}`;
  const scope = createScope(run, simulation);
  const total = Math.round(options.rate * options.durationSeconds);
  const devices = createDevices({ ...options, run, total, simulation });
  const users = userIds({ ...options, run, simulation });
  let status = 'preparing users and rules';
  progress.start(() => status);
  const probe = createProbe({ ...options, scope, simulation });
  const observer = await createObserver({
    ...options,
    scope,
    onProbe: probe.onDoor,
    clientId: `${run}-alerts`,
  });
  const rules = createFleetRules({ api, simulation, scope, users });
  let publisher: Publisher | null = null;
  try {
    const ruleIds = await rules.set();
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
    const more = (await onBegun?.({ api, devices, scope, simulation, expectation })) ?? [];

    const startMs = performance.now();
    const totals = publisher.totals;
    progress.start(() => line({ totals: totals(), observer, total, startMs }));
    await publisher.publish(stopped);
    const publishSeconds = (performance.now() - startMs) / 1000;

    const parts = { publisher, observer, devices, api, scope, simulation };
    progress.start(() => `settling: ${status}`);
    const unsettled = await settle({
      checks: [...checksOf({ ...parts, expectation }), ...more],
      timeoutMs: options.settleSeconds * 1000,
      onWaiting: (text) => {
        status = `waiting for ${text}`;
      },
    });
    progress.start(() => 'listing what is stored');
    return {
      run,
      users: users.length,
      devices: devices.length,
      seed: options.seed,
      rate: options.rate,
      publishSeconds,
      interrupted: stopped.aborted,
      ...(await judge({ ...parts, expectation: expectation() })),
      unsettled,
    };
  } finally {
    progress.stop();
    await Promise.all([publisher?.close(), probe.close(), observer.close(), rules.remove()]);
  }
}

function checksOf({
  api,
  devices,
  observer,
  publisher,
  simulation,
  expectation,
}: Omit<Running, 'scope'> & { expectation: () => Expectation }): Check[] {
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
          const last = ledger.acknowledgedUpTo;
          const sequenceId = simulation.hasSequence ? last : null;
          const reading = { userId, deviceId, sequenceId, time: ledger.timeOf(last) };
          if (last === 0 || (await isStored(api, reading))) unstored.delete(device);
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
