import type { OutgoingQueues } from './outgoing.ts';
import type { BrokerPacket } from './stored-packet.ts';

export interface Backlogs {
  /** From here on, until `read` has caught up, live messages to this client wait in its queue. */
  hold(client: object): void;
  /** The client's queue from its oldest message, page by page, until nothing is left behind. */
  read(client: { id: string }): Generator<BrokerPacket>;
  /** Whether a live message may go out now, or goes out (or went out) from the queue. */
  mayGoLive(client: object, packet: BrokerPacket, isQueued: () => boolean): boolean;
}

const PAGE = 100;
/** By then a message that was read from the queue is no longer on its way through the broker. */
const FORGET_AFTER_MS = 30_000;

/**
 * Keeps a returning session's messages in order. aedes restores its subscriptions first and then
 * sends the queue, so a message that comes in between would overtake those that have waited: it is
 * held back here and goes out in its turn, as the queue's last.
 */
export function createBacklogs(
  outgoing: OutgoingQueues,
  /** This run's id of the broker; null once the file is closed. */
  brokerId: () => string | null | undefined,
): Backlogs {
  const states = new WeakMap<object, { waiting: boolean; sent: Set<number> }>();

  function* read(client: { id: string }): Generator<BrokerPacket> {
    const state = states.get(client);
    let seq = 0;
    while (brokerId() !== null) {
      const page = outgoing.page(client.id, seq, PAGE);
      for (const row of page) {
        seq = row.seq;
        const { brokerCounter } = row.packet;
        if (brokerCounter !== undefined && row.packet.brokerId === brokerId()) {
          state?.sent.add(brokerCounter);
        }
        yield row.packet;
      }
      if (page.length === 0) break;
    }
    if (!state) return;
    state.waiting = false;
    setTimeout(() => state.sent.clear(), FORGET_AFTER_MS).unref();
  }

  return {
    hold: (client) => states.set(client, { waiting: true, sent: new Set() }),
    read,
    mayGoLive(client, packet, isQueued) {
      const state = states.get(client);
      if (!state) return true;
      const inQueue = state.waiting || state.sent.has(packet.brokerCounter ?? -1);
      return !inQueue || !isQueued();
    },
  };
}
