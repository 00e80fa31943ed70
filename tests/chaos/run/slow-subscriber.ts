import type { Begun } from '../../../src/loadtest/load.ts';
import { createObserver } from '../../../src/loadtest/observer.ts';
import type { Check } from '../../../src/loadtest/settle.ts';
import { compareTransitions, type DoorVerdict } from '../../../src/loadtest/verdict.ts';
import { type TcpProxy, tcpProxy } from '../../support/tcp-proxy.ts';

/** A second listener to all alerts, by ways of its own on which it can stop to read. */
export interface SlowSubscriber {
  webSocketWay: TcpProxy;
  mqttWay: TcpProxy;
  checks(): readonly Check[];
  verdicts(): { webSocket: DoorVerdict; mqtt: DoorVerdict };
  close(): Promise<void>;
}

export async function createSlowSubscriber(
  places: { url: string; mqttUrl: string },
  { scope, expectation }: Begun,
): Promise<SlowSubscriber> {
  const webSocketWay = await tcpProxy(places.url);
  const mqttWay = await tcpProxy(places.mqttUrl);
  const observer = await createObserver({
    url: webSocketWay.url,
    mqttUrl: mqttWay.url,
    protocolVersion: 4,
    scope,
    clientId: `${scope.run}-slow`,
    after: 0,
    onProbe: () => {},
  });
  const verdicts = () => ({
    webSocket: compareTransitions(expectation(), observer.webSocket.transitions),
    mqtt: compareTransitions(expectation(), observer.mqtt.transitions),
  });
  return {
    webSocketWay,
    mqttWay,
    checks: () => [
      {
        name: 'alerts on the slow WebSocket',
        pending: () => verdicts().webSocket.missed.length,
      },
      { name: 'alerts on the slow MQTT client', pending: () => verdicts().mqtt.missed.length },
    ],
    verdicts,
    async close() {
      await observer.close();
      await Promise.all([webSocketWay.close(), mqttWay.close()]);
    },
  };
}
