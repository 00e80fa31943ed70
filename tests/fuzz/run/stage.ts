import { SignJWT } from 'jose';
import type { MqttClient } from 'mqtt';
import { hashPassword } from '../../../src/domain/password-hash.ts';
import { connect } from '../../../src/store/connection.ts';
import { insertMqttAccount } from '../../../src/store/mqtt-credentials.ts';
import { startTestApp } from '../../support/app.ts';
import { connectClient, subscribe, telemetryTopic } from '../../support/app-clients.ts';
import { eventually, isAlive } from '../../support/process.ts';
import { within } from './fuzz.ts';

/** In all that is the victim's, and in nothing that a fuzz sends. */
export const MARK = 'zq-victims-own-zq';
export const PASSWORD = 'a password of the fuzz';
const SECRET = 'a secret of more than thirty-two characters';
const PROBE_DEADLINE_MS = 60_000;
const ERROR_LEVEL = 50;

export interface FuzzStage {
  graphqlUrl: string;
  mqttPort: number;
  httpPort: number;
  pid: number;
  /** An alert of the victim's: its id may be known, its content may not. */
  alertId: string;
  tokens: Record<'user' | 'device' | 'operator' | 'expired', string>;
  connectMqtt(username: string): Promise<MqttClient>;
  /** @throws Error where an answer to somebody else holds what is the victim's */
  scan(where: string, answer: string | Uint8Array): void;
  /** A valid reading still becomes an alert. @throws Error where it does not in time */
  probe(): Promise<void>;
  /** Unexpected errors in the log since the last call, and what is no line of it. */
  complaints(): string[];
  /** What is the victim's, in words that stay the same. */
  belongings(): Promise<string>;
  logs(): string;
  close(): Promise<void>;
}

/** The real process with its embedded parts and logins, a victim, and somebody who listens. */
export async function startFuzzStage(): Promise<FuzzStage> {
  const app = await startTestApp({
    AUTH_JWT_SECRET: SECRET,
    MQTT_AUTH: 'on',
    LOG_LEVEL: 'warn',
    SHUTDOWN_DEADLINE: '60s',
  });
  const sql = connect(app.databaseUrl, { max: 1, applicationName: 'fuzz' });
  const clients: MqttClient[] = [];
  const overheard: string[] = [];
  let leaves: (() => void)[] = [];

  const connectMqtt = async (username: string) => {
    const client = await connectClient(app.mqttUrl, { username, password: PASSWORD });
    clients.push(client);
    return client;
  };

  function scan(where: string, answer: string | Uint8Array): void {
    const text = typeof answer === 'string' ? answer : Buffer.from(answer).toString('latin1');
    if (NEEDLES.some((needle) => text.includes(needle))) {
      throw new Error(`${where} shows what is another user's: ${text.slice(0, 2_000)}`);
    }
  }

  let seen = 0;
  const known = new Set<string>();
  function complaints(): string[] {
    const lines = app.stderr().slice(seen).split('\n');
    // The last one may not be whole yet.
    seen += lines.slice(0, -1).reduce((sum, line) => sum + line.length + 1, 0);
    const found: string[] = [];
    for (const line of lines.slice(0, -1).filter(isComplaint)) {
      if (!known.has(kindOf(line))) found.push(line);
      known.add(kindOf(line));
    }
    const all = [...found, ...overheard.splice(0)];
    if (!isAlive(app.pid)) all.push(`the process has ended: ${app.stderr().slice(-2_000)}`);
    return all;
  }

  try {
    const { passwordHash, salt } = await hashPassword(PASSWORD);
    const account = { passwordHash, salt, isSuperuser: false, publishTo: null };
    for (const username of ['victim', 'fuzz']) {
      await insertMqttAccount(sql, { ...account, username, role: 'user' });
    }
    const publishTo = telemetryTopic('fuzz', 'pump');
    await insertMqttAccount(sql, { ...account, username: 'fuzz:pump', role: 'device', publishTo });
    const tokens = {
      user: await token({ sub: 'fuzz' }),
      device: await token({ sub: 'fuzz', role: 'device', device: 'pump' }),
      operator: await token({ role: 'operator' }),
      expired: await token({ sub: 'fuzz', exp: 1_000_000_000 }),
    };
    await setVictimsRules(app.graphqlUrl);
    const victim = await connectMqtt('victim');
    const probe = await createProbe(victim, app.graphqlUrl);
    await probe();
    const [row] = await sql<{ id: string }[]>`SELECT id FROM alerts WHERE user_id = 'victim'`;
    const eavesdropper = await connectMqtt('fuzz');
    eavesdropper.on('message', (topic, payload) => {
      overhear(`the topic ${topic}`, `${topic} ${payload}`);
    });
    for (const filter of ['#', '+/+/alerts', 'users/victim/#', 'users/fuzz/#', 'users/+/config']) {
      await eavesdropper.subscribeAsync(filter, { qos: 1 }).catch(() => {});
    }
    leaves = [listenAsFuzz(app.graphqlUrl, tokens.user, (text) => overhear('alertEvents', text))];
    function overhear(where: string, text: string): void {
      try {
        scan(where, text);
      } catch (error) {
        overheard.push((error as Error).message);
      }
    }
    return {
      graphqlUrl: app.graphqlUrl,
      mqttPort: Number(new URL(app.mqttUrl).port),
      httpPort: Number(new URL(app.graphqlUrl).port),
      pid: app.pid,
      alertId: row?.id ?? '',
      tokens,
      connectMqtt,
      scan,
      probe,
      complaints,
      async belongings() {
        const rows = await sql`SELECT
          (SELECT json_agg(to_jsonb(c)) FROM user_configs c WHERE user_id = 'victim') AS rules,
          (SELECT count(*) FROM snoozes WHERE user_id = 'victim') AS snoozes,
          (SELECT count(acknowledged_at) FROM alerts WHERE user_id = 'victim') AS acknowledged,
          (SELECT json_agg(DISTINCT device_id) FROM raw_telemetry WHERE user_id = 'victim') AS devices,
          (SELECT json_agg(to_jsonb(u) ORDER BY username) FROM mqtt_users u) AS accounts,
          (SELECT json_agg(to_jsonb(a) ORDER BY to_jsonb(a)) FROM mqtt_acl a) AS rights`;
        return JSON.stringify(rows[0]);
      },
      logs: () => app.stderr(),
      async close() {
        for (const leave of leaves) leave();
        for (const client of clients) await client.endAsync(true);
        await sql.end({ timeout: 1 });
        await app.stop();
        await app.remove();
      },
    };
  } catch (error) {
    for (const client of clients) await client.endAsync(true);
    await sql.end({ timeout: 1 });
    await app.remove();
    throw error;
  }
}

/** Also as base64, in each of its three positions. */
const NEEDLES = [
  MARK,
  ...[0, 1, 2].map((skip) =>
    Buffer.from('.'.repeat(skip) + MARK)
      .toString('base64')
      .slice(skip === 0 ? 0 : 4, -4),
  ),
];

async function token(claims: Record<string, unknown>): Promise<string> {
  return await new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));
}

async function setVictimsRules(url: string): Promise<void> {
  const authorization = `Bearer ${await token({ sub: 'victim' })}`;
  const message = `${MARK} {value}`;
  const document = `mutation { setRules(rules: [
    { ruleId: "hot", key: "temperature", operator: GT, threshold: 80, message: "${message}" },
    { ruleId: "${MARK}", key: "battery", operator: LT, threshold: -1, message: "never" }
  ]) { version } }`;
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization },
    body: JSON.stringify({ query: document }),
  });
  const { errors } = (await response.json()) as { errors?: unknown };
  if (errors) throw new Error(JSON.stringify(errors));
}

/** A reading that fires, its alert by MQTT, one that resolves, its alert; and the health checks. */
async function createProbe(client: MqttClient, graphqlUrl: string): Promise<() => Promise<void>> {
  const topic = telemetryTopic('victim', 'probe');
  let sequence = 0;
  let lastMs = 0;
  const heard = new Map<string, number>();
  client.on('message', (_topic, payload) => {
    const { status, value } = JSON.parse(payload.toString());
    heard.set(status, value);
  });
  await client.subscribeAsync('users/victim/alerts', { qos: 1 });
  const travel = async (value: number, status: string) => {
    sequence++;
    // Later than the one before, whatever the clock says.
    lastMs = Math.max(Date.now(), lastMs + 1);
    const reading = { time: lastMs, sequence_id: sequence, temperature: value, note: MARK };
    await within(
      'PUBACK of the probe',
      client.publishAsync(topic, JSON.stringify(reading), { qos: 1 }),
    );
    const isHeard = () => heard.get(status) === value;
    await eventually(`the alert of the probe is ${status}`, isHeard, PROBE_DEADLINE_MS);
  };
  return async () => {
    await travel(90 + (sequence % 1_000) / 1_000, 'FIRING');
    await travel(10 + (sequence % 1_000) / 1_000, 'RESOLVED');
    for (const path of ['/healthz', '/readyz']) {
      const signal = AbortSignal.timeout(PROBE_DEADLINE_MS);
      const { status } = await fetch(new URL(path, graphqlUrl), { signal });
      if (status !== 200) throw new Error(`${path} answers ${status}`);
    }
  };
}

function listenAsFuzz(url: string, bearer: string, hear: (text: string) => void): () => void {
  const listening = subscribe(
    url,
    'subscription { alertEvents { type message alert { id ruleId device { deviceId } } } }',
    'alertEvents',
    { connectionParams: { Authorization: `Bearer ${bearer}` } },
  );
  const { events } = listening;
  events.push = (...more: unknown[]) => {
    for (const event of more) hear(JSON.stringify(event));
    return 0;
  };
  return () => void listening.leave();
}

/** An error, or what was written past the log: a stack of an exception that nobody caught. */
function isComplaint(line: string): boolean {
  if (line.trim() === '') return false;
  try {
    return JSON.parse(line).level >= ERROR_LEVEL;
  } catch {
    return true;
  }
}

/** Lines that tell the same are told once. */
function kindOf(line: string): string {
  try {
    const { msg, err } = JSON.parse(line);
    return `${msg} ${err?.type} ${String(err?.message).replace(/\d+/g, 'N').slice(0, 80)}`;
  } catch {
    return line;
  }
}
