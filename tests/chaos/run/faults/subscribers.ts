import type { Fault } from '../fault.ts';
import type { SlowSubscriber } from '../slow-subscriber.ts';

export function subscriberFaults({ webSocketWay, mqttWay }: SlowSubscriber): Fault[] {
  const pause = (name: string, way: typeof mqttWay): Fault => ({
    name,
    targets: [name],
    holdMs: [4_000, 12_000],
    async inject() {
      way.freeze();
      return async () => way.thaw();
    },
  });
  return [
    pause('a WebSocket subscriber stops reading', webSocketWay),
    pause('an MQTT subscriber stops reading', mqttWay),
  ];
}
