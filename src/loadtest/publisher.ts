import { nowMicros } from './clock.ts';
import type { Device } from './devices.ts';
import { createPacer } from './pacer.ts';
import { type BrokerOptions, createSender, type Sender } from './sender.ts';

export interface PublisherOptions extends BrokerOptions {
  run: string;
  rate: number;
  /** Messages under way over all connections. */
  window: number;
  /** Gives up after so long without a connection that would take a message. */
  patienceMs: number;
}

export interface PublisherTotals {
  sent: number;
  acknowledged: number;
  inFlight: number;
  connections: number;
  reconnects: number;
  refused: number;
}

export interface Publisher {
  totals(): PublisherTotals;
  /** Publishes every device's quota; ends earlier on `stopped` or without patience. */
  publish(stopped: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const MAX_CONNECTIONS = 100;
const TICK_MS = 2;
const MAX_BEHIND_SECONDS = 2;
const CONNECTS_AT_ONCE = 10;

/** One connection per device up to a hundred, then devices share; a device keeps its own. */
export async function createPublisher(
  devices: readonly Device[],
  options: PublisherOptions,
): Promise<Publisher> {
  const senders = await connectAll(Math.min(devices.length, MAX_CONNECTIONS), options);
  const total = devices.reduce((sum, device) => sum + device.quota, 0);
  let sent = 0;
  let acknowledged = 0;
  let turn = 0;

  function totals(): PublisherTotals {
    return {
      sent,
      acknowledged,
      inFlight: sum(senders, (sender) => sender.inFlight),
      connections: senders.length,
      reconnects: sum(senders, (sender) => sender.reconnects),
      refused: sum(senders, (sender) => sender.refused),
    };
  }

  /** Gives the devices their turns; one whose connection has no room is passed over for now. */
  function sendUpTo(budget: number): void {
    let left = budget;
    let passedOver = 0;
    while (left > 0 && passedOver < devices.length) {
      const device = devices[turn] as Device;
      const sender = senders[turn % senders.length] as Sender;
      turn = (turn + 1) % devices.length;
      if (device.ledger.published === device.quota || !sender.hasRoom()) {
        passedOver++;
        continue;
      }
      passedOver = 0;
      left--;
      sent++;
      const { sequenceId, payload } = device.next(nowMicros());
      sender.send(device.topic, payload, () => {
        device.ledger.acknowledge(sequenceId);
        acknowledged++;
      });
    }
  }

  async function publish(stopped: AbortSignal): Promise<void> {
    const startMs = performance.now();
    let lastProgressMs = startMs;
    const maxBehind = Math.max(1, Math.ceil(options.rate * MAX_BEHIND_SECONDS));
    const pacer = createPacer({ startMs, rate: options.rate, total, maxBehind });
    while (sent < total && !stopped.aborted) {
      const nowMs = performance.now();
      if (senders.some((sender) => sender.hasRoom())) lastProgressMs = nowMs;
      if (nowMs - lastProgressMs > options.patienceMs) return;
      sendUpTo(pacer.due(nowMs, sent));
      await Bun.sleep(TICK_MS);
    }
  }

  return {
    totals,
    publish,
    close: async () => {
      await Promise.all(senders.map((sender) => sender.close()));
    },
  };
}

async function connectAll(count: number, options: PublisherOptions): Promise<Sender[]> {
  const window = Math.max(1, Math.ceil(options.window / count));
  const senders: Sender[] = [];
  try {
    while (senders.length < count) {
      const batch = Math.min(CONNECTS_AT_ONCE, count - senders.length);
      const made = await Promise.all(
        Array.from({ length: batch }, (_, index) => {
          const clientId = `${options.run}-device-${senders.length + index + 1}`;
          return createSender({ ...options, clientId, window });
        }),
      );
      senders.push(...made);
    }
  } catch (error) {
    await Promise.all(senders.map((sender) => sender.close()));
    throw error;
  }
  return senders;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
