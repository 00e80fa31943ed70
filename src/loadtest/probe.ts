import { nowMicros } from './clock.ts';
import type { Observer } from './observer.ts';
import { createRandom } from './random.ts';
import type { Scope } from './scope.ts';
import { type BrokerOptions, createSender, type Sender } from './sender.ts';
import { readingOf, type Simulation } from './simulation.ts';
import { UnreachableError } from './unreachable.ts';

/**
 * A device that breaches a rule of the fleet's each second until the alert came by both doors. It
 * shows that the whole path works and that both subscriptions are in place (GraphQL over WebSocket
 * acknowledges none), and gives the WebSocket the seq to resume from.
 */
export interface Probe {
  onDoor(door: 'webSocket' | 'mqtt'): void;
  run(observer: Observer, stopped: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const DEADLINE_MS = 30_000;
const INTERVAL_MS = 1_000;
const STEP_MS = 50;

export function createProbe(
  options: BrokerOptions & { scope: Scope; simulation: Simulation },
): Probe {
  const { scope, simulation } = options;
  const random = createRandom(scope.run);
  const open = new Set<'webSocket' | 'mqtt'>();
  let sender: Sender | null = null;
  let sequenceId = 0;

  function send(connection: Sender, isBreach: boolean): void {
    if (!connection.hasRoom()) return;
    sequenceId++;
    const fields = readingOf(
      simulation,
      random,
      (signal) => isBreach && signal === simulation.signals[0],
    );
    const payload = simulation.encode(nowMicros(), sequenceId, fields);
    connection.send(simulation.topic(scope.probe), payload, () => {});
  }

  async function run(observer: Observer, stopped: AbortSignal): Promise<void> {
    sender = await createSender({ ...options, clientId: `${scope.run}-probe`, window: 100 });
    const deadline = performance.now() + DEADLINE_MS;
    let nextMs = performance.now();
    while (open.size < 2 && !stopped.aborted) {
      const nowMs = performance.now();
      if (nowMs > deadline) throw new UnreachableError(silence(open, observer.fault()));
      if (nowMs >= nextMs) {
        send(sender, true);
        send(sender, false);
        nextMs += INTERVAL_MS;
      }
      await Bun.sleep(STEP_MS);
    }
  }

  return {
    onDoor: (door) => open.add(door),
    run,
    close: async () => sender?.close(),
  };
}

function silence(open: ReadonlySet<string>, fault: string | null): string {
  const doors = [
    ...(open.has('webSocket') ? [] : ['the alertEvents subscription']),
    ...(open.has('mqtt') ? [] : ['MQTT users/+/alerts']),
  ];
  return (
    `a reading over its rule's limit made no alert on ${doors.join(' nor on ')} ` +
    `in ${DEADLINE_MS / 1000} s${fault === null ? '' : `: ${fault}`}; ` +
    'see the log of the process, and that --url and --mqtt-url belong together'
  );
}
