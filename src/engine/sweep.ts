import type { RuleMemory, Transition } from '../domain/alert.ts';
import { reconcile } from '../domain/reconcile.ts';
import type { RuleSet } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import { deviceKey } from '../domain/topic.ts';
import type { Sql } from '../store/connection.ts';
import { type DeviceState, loadFiringDevices } from '../store/device-state.ts';
import { type Batch, createBatch } from './batch.ts';
import type { PersistentWriter } from './persist.ts';

/** Resolves open episodes of devices that may stay silent, after a change of their rules. */
export interface Sweep {
  isDue(): boolean;
  /** Of all users: at first, and after a sweep that was cut short or dropped with its batch. */
  everybody(): void;
  user(userId: string): void;
  /**
   * Makes batches of transitions alone; each is to be committed before the next is made.
   *
   * @param clock arrival of the last record that was committed
   */
  batches(clock: Micros, signal: AbortSignal): AsyncGenerator<Batch, void>;
}

const PAGE = 500;

export function createSweep(
  deps: {
    writer: Pick<PersistentWriter, 'query'>;
    rulesFor: (userIds: Set<string>) => Promise<ReadonlyMap<string, RuleSet>>;
    /** How many partitions the log has. @throws LogUnavailable */
    logPartitions: () => Promise<number>;
  },
  { partition }: { partition: number },
): Sweep {
  const { writer, rulesFor, logPartitions } = deps;
  const users = new Set<string>();
  let everybody = true;
  /** As it was at the last sweep of all: a new log, which may have fewer, begins with one. */
  let partitions = 0;

  async function* batches(clock: Micros, signal: AbortSignal): AsyncGenerator<Batch, void> {
    const userIds = everybody ? null : [...users];
    // Never fewer than it takes for ours, whatever an answer that is behind says.
    if (everybody) partitions = Math.max(partition + 1, await logPartitions());
    everybody = false;
    users.clear();
    const share = { partition, partitions };
    let after = { userId: '', deviceId: '' };
    while (!signal.aborted) {
      const load = (sql: Sql) => loadFiringDevices(sql, share, userIds, after, PAGE);
      const page = await writer.query('reading the firing devices', load);
      const last = page.at(-1);
      if (last === undefined) return;
      after = last;
      const ruleSets = await rulesFor(new Set(page.map((device) => device.userId)));
      const batch = createBatch();
      for (const device of page) {
        const ruleSet = ruleSets.get(device.userId);
        if (ruleSet === undefined) continue;
        const silentFor = clock - device.lastArrivalAt;
        const { memory, transitions } = reconcile(device.memory, device, ruleSet, silentFor);
        addRevision(batch, device, { memory, transitions, version: ruleSet.version });
      }
      if (batch.devices.size > 0) yield batch;
    }
  }

  return {
    isDue: () => everybody || users.size > 0,
    everybody() {
      everybody = true;
    },
    user: (userId) => void users.add(userId),
    batches,
  };
}

/** Adds what a device remembers now, and its transitions, where anything has changed. */
export function addRevision(
  batch: Batch,
  device: DeviceState,
  { memory, transitions, version }: Revision,
): void {
  if (memory === device.memory) return;
  batch.devices.set(deviceKey(device), { ...device, version: device.version + 1, memory });
  batch.transitions.push(...transitions);
  batch.ruleVersions.set(device.userId, version);
  if (device.memory.version > version) batch.ruledBefore.add(device.userId);
}

interface Revision {
  memory: RuleMemory;
  transitions: Transition[];
  /** Of the rules. */
  version: number;
}
