import { TLSSocket } from 'node:tls';
import type { AedesOptions, AuthenticateError, Client } from 'aedes';
import type { BrokerLog } from './broker-log.ts';
import { takeInAnyOrder } from './delivery.ts';
import type { Guard, Login } from './guard.ts';
import { type BrokerLimits, topicFault } from './limits.ts';
import type { Persistence } from './persistence.ts';
import { refuseMqtt5 } from './refusal.ts';
import type { BrokerPacket } from './stored-packet.ts';

export interface DoorDeps {
  /** Without, everybody is let in, to everything within the limits. */
  guard: Guard | undefined;
  /** Those of one client don't count for our own. */
  limits: BrokerLimits;
  /** The common name of a client's certificate is its account, and no password is asked for. */
  namesByCertificate: boolean;
  /** Called for a connection of our own clients. */
  onOwn(client: Client): void;
  persistence: Persistence;
  log: Pick<BrokerLog, 'refusedMqtt5' | 'limited'>;
  counters: { refusedMqtt5: number };
}

export interface Door {
  hooks: Pick<Required<AedesOptions>, 'preConnect' | 'authenticate' | 'authorizeSubscribe'>;
  /** Why a client may not publish this; null where it may. May take the retain flag off it. */
  refusal(client: Client, packet: BrokerPacket): Error | null;
  unsubscribed(client: Client, filters: readonly string[]): void;
}

/** CONNACK codes of MQTT 3.1.1. */
const UNAVAILABLE = 3;
const BAD_LOGIN = 4;

/** Who gets in, and what they may publish and subscribe. */
export function createDoor(deps: DoorDeps): Door {
  const { guard, limits, persistence, log } = deps;
  const subscriptions = new WeakMap<Client, Set<string>>();
  const isOwn = (client: Client) => guard?.isOwnClient(client) ?? false;
  const store = persistence.addSubscriptions;
  // aedes stores all subscriptions of a packet as soon as the first one of them is granted.
  persistence.addSubscriptions = (client, subs) =>
    store(
      client,
      subs.filter(({ topic }) => maySubscribe(client as Client, topic)),
    );

  function maySubscribe(client: Client, filter: string): boolean {
    if (guard && !guard.may(client, 'subscribe', filter)) return false;
    let held = subscriptions.get(client);
    if (held?.has(filter) || isOwn(client)) return true;
    held ??= new Set();
    const isFull = held.size >= limits.maxSubscriptions;
    const reason = isFull
      ? `it has ${held.size} subscriptions (MQTT_MAX_SUBSCRIPTIONS)`
      : topicFault(filter, limits);
    if (reason !== null) {
      log.limited({ clientId: client.id, reason });
      return false;
    }
    subscriptions.set(client, held.add(filter));
    return true;
  }

  function refusal(client: Client, packet: BrokerPacket): Error | null {
    const topic = packet.topic ?? '';
    const fault = topicFault(topic, limits);
    if (fault !== null) {
      log.limited({ clientId: client.id, reason: fault });
      return new Error(fault);
    }
    if (guard && !guard.may(client, 'publish', topic)) {
      return new Error('mqtt_acl allows no such publish');
    }
    if (packet.retain && !isOwn(client) && !fitsRetained(packet)) {
      const reason =
        'retained messages are full: it is delivered, not kept (MQTT_MAX_RETAINED_BYTES)';
      log.limited({ clientId: client.id, reason });
      packet.retain = false;
    }
    return null;
  }

  const fitsRetained = (packet: BrokerPacket) =>
    persistence.hasRoomForRetained(packet, limits.maxRetainedBytes);

  function loginOf(client: Client, { username, password }: Login): Login {
    const name = deps.namesByCertificate ? certifiedName(client) : null;
    return name === null ? { username, password } : { username: name, certified: true };
  }

  /** Once the login is right. */
  function admit(client: Client, done: Parameters<AedesOptions['authenticate'] & object>[3]): void {
    if (isOwn(client)) deps.onOwn(client);
    dropWill(client);
    if (client.clean) {
      done(null, true);
      return;
    }
    if (!isOwn(client) && !persistence.hasRoomForSession(client.id, limits.maxSessions)) {
      log.limited({
        clientId: client.id,
        reason: 'too many sessions are kept (MQTT_MAX_SESSIONS)',
      });
      done(connackError(UNAVAILABLE, 'too many MQTT sessions are kept'), null);
      return;
    }
    persistence.backlogs.hold(client);
    done(null, true);
  }

  /** A will that its sender may not publish never is, as in EMQX; later there is nobody to ask. */
  function dropWill(client: Client): void {
    const owner = client as unknown as { _will: { topic: string } | null };
    if (!guard || !owner._will) return;
    if (!guard.may(client, 'publish', owner._will.topic)) owner._will = null;
  }

  return {
    hooks: {
      preConnect(client, packet, callback) {
        if (packet.protocolVersion === 5) {
          deps.counters.refusedMqtt5++;
          log.refusedMqtt5(packet.clientId);
          refuseMqtt5(client.conn, () => callback(new Error('MQTT 5 refused'), false));
          return;
        }
        takeInAnyOrder(client);
        // It says who it is here for the first time; whether that is true comes before its session.
        if (guard) packet.clientId = guard.clientId(loginOf(client, packet), packet.clientId);
        callback(null, true);
      },
      authenticate(client, username, password, done) {
        if (!guard) {
          admit(client, done);
          return;
        }
        void guard.logIn(client, loginOf(client, { username, password })).then((verdict) => {
          if (verdict === 'in') admit(client, done);
          else if (verdict === 'refused') done(connackError(BAD_LOGIN, 'MQTT login refused'), null);
          else done(connackError(UNAVAILABLE, 'MQTT accounts can’t be checked now'), null);
        });
      },
      authorizeSubscribe(client, subscription, done) {
        if (maySubscribe(client, subscription.topic)) {
          done(null, subscription);
          return;
        }
        if (client.clean) {
          done(null, null);
          return;
        }
        // One of a session that was kept has to go from there too; a new one was never stored.
        persistence.removeSubscriptions(client, [subscription.topic]).then(
          () => done(null, null),
          (error) => done(error),
        );
      },
    },
    refusal,
    unsubscribed(client, filters) {
      for (const filter of filters) subscriptions.get(client)?.delete(filter);
    },
  };
}

/** The listener lets in no certificate that isn't signed by one of ours. */
function certifiedName({ conn }: Client): string | null {
  if (!(conn instanceof TLSSocket) || !conn.authorized) return null;
  const name = conn.getPeerCertificate().subject?.CN;
  return typeof name === 'string' ? name : '';
}

function connackError(returnCode: number, message: string): AuthenticateError {
  return Object.assign(new Error(message), { returnCode });
}
