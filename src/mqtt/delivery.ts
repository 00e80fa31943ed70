import type { AedesPublishPacket, Client } from 'aedes';
import { filterMatches } from './filters.ts';
import type { Guard } from './guard.ts';
import { SOCKET_BUFFER_BYTES } from './listener.ts';
import type { Persistence } from './persistence.ts';

export interface Delivery {
  /** aedes' authorizeForward: the message, or null where it isn't sent to this client now. */
  authorizeForward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null;
}

/**
 * Decides about a message at each subscriber's door. aedes makes a publisher wait for a subscriber
 * whose socket is full; one that takes messages at QoS 0 goes without them instead.
 */
export function createDelivery(
  persistence: Persistence,
  guard: Guard | undefined,
  onSkipped: (clientId: string) => void,
): Delivery {
  /** What each client was offered last: of overlapping subscriptions both get it, one after the other. */
  const offered = new WeakMap<Client, string>();

  function isOfferedTwice(client: Client, { brokerId, brokerCounter }: Numbered): boolean {
    if (brokerId === undefined) return false;
    const identity = `${brokerId} ${brokerCounter}`;
    if (offered.get(client) === identity) return true;
    offered.set(client, identity);
    return false;
  }

  return {
    authorizeForward(client, packet) {
      // A packet with an id comes from the session's queue; a retained one answers a SUBSCRIBE.
      if (packet.messageId !== undefined || packet.retain) {
        return guard === undefined || guard.mayGet(client, packet.topic) ? packet : null;
      }
      if (isOfferedTwice(client, packet)) return null;
      if (isCongested(client) && takesAtQos0(client, packet)) {
        onSkipped(client.id);
        return null;
      }
      if (client.clean || packet.qos === 0) return packet;
      const isQueued = () => persistence.isQueuedFor(client.id, packet.topic);
      return persistence.backlogs.mayGoLive(client, packet, isQueued) ? packet : null;
    },
  };
}

type Numbered = { brokerId?: string; brokerCounter?: number };

/**
 * aedes takes a message for a repeated one when its number is not above the last one's. Ours get
 * their numbers when they arrive and go out when they are durable, at times behind a later one:
 * for aedes no message is a repeated one; `authorizeForward` looks instead.
 */
export function takeInAnyOrder(client: Client): void {
  const numbers = {
    get: () => -1,
    set: () => true,
    deleteProperty: () => true,
  };
  (client as unknown as { duplicates: object }).duplicates = new Proxy({}, numbers);
}

/** Below the socket's high-water mark, where a write would make its publisher wait. */
function isCongested(client: Client): boolean {
  return client.conn.writableLength > SOCKET_BUFFER_BYTES / 2;
}

/** Whether a client takes a message at QoS 0, where it may be left out, and at no higher one. */
function takesAtQos0(client: Client, packet: AedesPublishPacket): boolean {
  if (packet.qos === 0) return true;
  const { subscriptions } = client as unknown as { subscriptions: Record<string, { qos: number }> };
  return !Object.entries(subscriptions).some(
    ([filter, { qos }]) => qos > 0 && filterMatches(filter, packet.topic),
  );
}
