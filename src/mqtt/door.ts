import { TLSSocket } from 'node:tls';
import type { AedesOptions, AuthenticateError, Client } from 'aedes';
import type { BrokerLog } from './broker-log.ts';
import type { Guard, Login } from './guard.ts';
import type { Persistence } from './persistence.ts';
import { refuseMqtt5 } from './refusal.ts';

export interface DoorDeps {
  /** Without, everybody is let in, to everything. */
  guard: Guard | undefined;
  /** The common name of a client's certificate is its account, and no password is asked for. */
  namesByCertificate: boolean;
  persistence: Persistence;
  log: Pick<BrokerLog, 'refusedMqtt5'>;
  counters: { refusedMqtt5: number };
}

export interface Door {
  hooks: Pick<Required<AedesOptions>, 'preConnect' | 'authenticate' | 'authorizeSubscribe'>;
}

/** CONNACK codes of MQTT 3.1.1. */
const UNAVAILABLE = 3;
const BAD_LOGIN = 4;

/** Who gets in, and to which subscriptions. */
export function createDoor(deps: DoorDeps): Door {
  const { guard, persistence, log, counters } = deps;
  if (guard) storeOnlyAllowed(guard, persistence);

  function loginOf(client: Client, { username, password }: Login): Login {
    const name = deps.namesByCertificate ? certifiedName(client) : null;
    return name === null ? { username, password } : { username: name, certified: true };
  }

  return {
    hooks: {
      preConnect(client, packet, callback) {
        if (packet.protocolVersion === 5) {
          counters.refusedMqtt5++;
          log.refusedMqtt5(packet.clientId);
          refuseMqtt5(client.conn, () => callback(new Error('MQTT 5 refused'), false));
          return;
        }
        // It says who it is here for the first time; whether that is true comes before its session.
        if (guard) packet.clientId = guard.clientId(loginOf(client, packet), packet.clientId);
        callback(null, true);
      },
      authenticate(client, username, password, done) {
        const letIn = () => {
          if (!client.clean) persistence.backlogs.hold(client);
          done(null, true);
        };
        if (!guard) {
          letIn();
          return;
        }
        void guard.logIn(client, loginOf(client, { username, password })).then((verdict) => {
          if (verdict !== 'in') {
            done(refusal(verdict), null);
            return;
          }
          dropWill(guard, client);
          letIn();
        });
      },
      authorizeSubscribe(client, subscription, done) {
        if (!guard || guard.may(client, 'subscribe', subscription.topic)) {
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
  };
}

/** The listener lets in no certificate that isn't signed by one of ours. */
function certifiedName({ conn }: Client): string | null {
  if (!(conn instanceof TLSSocket) || !conn.authorized) return null;
  const name = conn.getPeerCertificate().subject?.CN;
  return typeof name === 'string' ? name : '';
}

/** aedes stores all subscriptions of a packet as soon as the first one of them is granted. */
function storeOnlyAllowed(guard: Guard, persistence: Persistence): void {
  const store = persistence.addSubscriptions;
  persistence.addSubscriptions = (client, subs) =>
    store(
      client,
      subs.filter(({ topic }) => guard.may(client as Client, 'subscribe', topic)),
    );
}

/** A will that its sender may not publish never is, as in EMQX; later there is nobody to ask. */
function dropWill(guard: Guard, client: Client): void {
  const owner = client as unknown as { _will: { topic: string } | null };
  if (owner._will && !guard.may(client, 'publish', owner._will.topic)) owner._will = null;
}

function refusal(verdict: 'refused' | 'unavailable'): AuthenticateError {
  const isBusy = verdict === 'unavailable';
  const message = isBusy ? 'MQTT accounts can’t be checked now' : 'MQTT login refused';
  return Object.assign(new Error(message), { returnCode: isBusy ? UNAVAILABLE : BAD_LOGIN });
}
