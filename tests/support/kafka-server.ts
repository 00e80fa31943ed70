import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createKafkaNode,
  freePorts,
  type KafkaNode,
  makeNodeFolder,
  newClusterId,
  quickJvm,
  run,
} from './kafka-node.ts';

/** Users of the SASL listener, known to PLAIN and to both kinds of SCRAM. */
export const SASL_USERS = { device: 'device-secret', limited: 'limited-secret' };

/** A real Apache Kafka in KRaft mode: one broker that is its own controller, on loopback. */
export interface KafkaServer extends KafkaNode {
  brokers: string[];
  saslBrokers: string[];
  tlsBrokers: string[];
  /** PEM of the certificate that the TLS listener shows. */
  caFile: string;
}

export async function createKafkaServer(jvm = quickJvm(512)): Promise<KafkaServer> {
  const folder = makeNodeFolder();
  const [plain, sasl, tls, controller] = (await freePorts(4)) as [number, number, number, number];
  const caFile = makeCertificate(folder);
  const node = createKafkaNode({
    folder,
    properties: serverProperties({ folder, plain, sasl, tls, controller }),
    clusterId: newClusterId(),
    port: plain,
    jvm,
    formatWith: scramUsers(),
  });
  return {
    ...node,
    brokers: [`127.0.0.1:${plain}`],
    saslBrokers: [`127.0.0.1:${sasl}`],
    tlsBrokers: [`localhost:${tls}`],
    caFile,
  };
}

/** A killed broker is let in again when its session has ended: 9 s by default. */
function serverProperties(options: {
  folder: string;
  plain: number;
  sasl: number;
  tls: number;
  controller: number;
}): string {
  const { folder, plain, sasl, tls, controller } = options;
  const users = Object.entries(SASL_USERS).map(([name, secret]) => `user_${name}="${secret}"`);
  const login = 'org.apache.kafka.common.security';
  const saslPlain = `${login}.plain.PlainLoginModule required ${users.join(' ')};`;
  const scram = `${login}.scram.ScramLoginModule required;`;
  return `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${plain},SASL_PLAINTEXT://127.0.0.1:${sasl},SSL://localhost:${tls},\
CONTROLLER://127.0.0.1:${controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,\
CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=${saslPlain}
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=${scram}
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=${scram}
ssl.keystore.type=PEM
ssl.keystore.location=${folder}/server.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
log.dirs=${folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
`;
}

function scramUsers(): string[] {
  return Object.entries(SASL_USERS).flatMap(([name, password]) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${name},password=${password}]`,
    ]),
  );
}

/** A self-signed certificate for localhost, its key beside it. */
function makeCertificate(folder: string): string {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'ca.pem')];
  const subject = [
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
  ];
  const out = ['-keyout', key, '-out', cert];
  run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    ...out,
  ]);
  writeFileSync(join(folder, 'server.pem'), readFileSync(key, 'utf8') + readFileSync(cert, 'utf8'));
  return cert;
}
