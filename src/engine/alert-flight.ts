import type { AlertEvent } from '../domain/alert.ts';

/** Alert events on their way to the broker, in order of seq. */
export interface AlertFlight {
  /** Sends it, once there is room and no event of the same alert is under way. */
  send(event: AlertEvent): Promise<void>;
  /** The first failure since `land`; nothing is sent behind it. */
  readonly failure: { error: unknown; seq: number } | null;
  /** Aborted with it, and with the signal of all this. */
  readonly interrupted: AbortSignal;
  /** Waits for all that is under way, and begins anew. @returns up to where all was acknowledged */
  land(): Promise<number>;
}

interface Sent {
  seq: number;
  alertId: string;
  state: 'under way' | 'acknowledged' | 'failed';
}

/**
 * @param onReached told up to which seq all was acknowledged, each time that it grows
 * @param window events under way at a time
 */
export function createAlertFlight(
  publish: (event: AlertEvent) => Promise<void>,
  options: {
    start: number;
    window: number;
    onReached: (seq: number) => void;
    signal: AbortSignal;
  },
): AlertFlight {
  /** Those not acknowledged, and what went behind the first of them. */
  let sent: Sent[] = [];
  const alerts = new Set<string>();
  let reached = options.start;
  let failure: AlertFlight['failure'] = null;
  let interruption = new AbortController();
  let wake: () => void = () => {};
  // Not AbortSignal.any, which a signal of long life would have many of.
  options.signal.addEventListener('abort', () => interruption.abort(), { once: true });

  function landed(one: Sent, state: 'acknowledged' | 'failed'): void {
    one.state = state;
    alerts.delete(one.alertId);
    const first = sent.findIndex((other) => other.state !== 'acknowledged');
    const done = sent.splice(0, first === -1 ? sent.length : first).at(-1);
    if (done !== undefined) {
      reached = done.seq;
      options.onReached(reached);
    }
    wake();
  }

  /** Until one more has landed. */
  function oneMore(): Promise<void> {
    return new Promise((resolve) => {
      wake = resolve;
    });
  }

  return {
    async send(event) {
      while (failure === null && (sent.length >= options.window || alerts.has(event.alertId))) {
        await oneMore();
      }
      if (failure !== null) return;
      const one: Sent = { seq: event.seq, alertId: event.alertId, state: 'under way' };
      sent.push(one);
      alerts.add(event.alertId);
      publish(event).then(
        () => landed(one, 'acknowledged'),
        (error: unknown) => {
          failure ??= { error, seq: event.seq };
          landed(one, 'failed');
          interruption.abort();
        },
      );
    },
    get failure() {
      return failure;
    },
    get interrupted() {
      return interruption.signal;
    },
    async land() {
      while (sent.some(({ state }) => state === 'under way')) await oneMore();
      sent = [];
      failure = null;
      interruption = new AbortController();
      return reached;
    },
  };
}
