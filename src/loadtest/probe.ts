import type { Api } from './api.ts';
import { nowMicros } from './clock.ts';
import { encode, telemetryTopic } from './devices.ts';
import type { Observer } from './observer.ts';
import { setRules } from './queries.ts';
import { type BrokerOptions, createSender, type Sender } from './sender.ts';
import { UnreachableError } from './unreachable.ts';

/**
 * A user whose one device breaches its rule each second until the alert came by both doors. It
 * shows that the whole path works and that both subscriptions are in place (GraphQL over WebSocket
 * acknowledges none), and gives the WebSocket the seq to resume from.
 */
export interface Probe {
  userId: string;
  onDoor(door: 'webSocket' | 'mqtt'): void;
  run(observer: Observer, stopped: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const DEADLINE_MS = 30_000;
const INTERVAL_MS = 1_000;
const STEP_MS = 50;
const LIMIT = 50;

export function createProbe(options: BrokerOptions & { api: Api; userId: string }): Probe {
  const { api, userId } = options;
  const deviceId = 'device_probe';
  const open = new Set<'webSocket' | 'mqtt'>();
  let sender: Sender | null = null;
  let sequenceId = 0;

  function send(connection: Sender, temperature: number): void {
    if (!connection.hasRoom()) return;
    sequenceId++;
    const payload = encode(nowMicros(), sequenceId, { temperature });
    connection.send(telemetryTopic({ userId, deviceId }), payload, () => {});
  }

  async function run(observer: Observer, stopped: AbortSignal): Promise<void> {
    await setRules(api, { userId, temperatureMax: LIMIT, rules: [] });
    sender = await createSender({ ...options, clientId: `${userId}-device`, window: 100 });
    const deadline = performance.now() + DEADLINE_MS;
    let nextMs = performance.now();
    while (open.size < 2 && !stopped.aborted) {
      const nowMs = performance.now();
      if (nowMs > deadline) throw new UnreachableError(silence(open, observer.fault()));
      if (nowMs >= nextMs) {
        send(sender, LIMIT + 1);
        send(sender, LIMIT - 1);
        nextMs += INTERVAL_MS;
      }
      await Bun.sleep(STEP_MS);
    }
  }

  return {
    userId,
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
