import { join } from 'node:path';
import { type App, startApp } from './app.ts';
import { hasTokens } from './config/api.ts';
import { asksForLogin } from './config/broker.ts';
import { type Config, ConfigError, loadConfig, redactUrl } from './config.ts';
import { StartError } from './domain/start-error.ts';
import { createProcessLog } from './logger.ts';

/** npm passes on a Ctrl-C that the terminal has given us already: one press, within this time. */
const ONE_PRESS_MS = 500;

const config = readConfig();
const log = createProcessLog(config.logLevel);
const startedAt = performance.now();
const stopping = new AbortController();
let stoppingSince: number | null = null;
// Before the start, whose first steps leave files behind: a signal from then on stops in order.
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
const starting = startApp(config, log.logger, stopping.signal);

try {
  const app = await starting;
  if (!stopping.signal.aborted) announce(app);
} catch (error) {
  if (!stopping.signal.aborted) await fail(error);
}

/** The first signal stops in order, the second at once: what is acknowledged is on disk anyway. */
function stop(signal: NodeJS.Signals): void {
  if (stoppingSince === null) {
    stoppingSince = performance.now();
    // Not console.error, which makes it red.
    process.stderr.write(
      `\n${signal}: storing what was read, then stopping. Again to stop at once.\n`,
    );
    stopInOrder().catch(fail);
  } else if (performance.now() - stoppingSince > ONE_PRESS_MS) {
    console.error('Stopped at once.');
    process.exit(1);
  }
}

async function stopInOrder(): Promise<void> {
  stopping.abort();
  // A start that was broken off has stopped its parts itself.
  const app = await starting.catch(() => null);
  await app?.stop();
  await log.flush();
  process.exit(0);
}

async function fail(error: unknown): Promise<never> {
  if (error instanceof StartError) {
    log.discard();
    console.error(error.message);
  } else {
    log.release();
    log.logger.fatal({ err: error }, 'stopped by an unexpected error');
  }
  await log.flush();
  return process.exit(1);
}

/** With Bun alone there is no npx. */
function npx(): string {
  return Bun.which('npx') ? 'npx' : 'bunx';
}

function readConfig(): Config {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const fault of error.faults) console.error(fault);
    process.exit(1);
  }
}

function announce(app: App): void {
  const password =
    config.databaseUrl === null && app.dataDir !== null
      ? `  (password: ${join(app.dataDir, 'postgres-password')})`
      : '';
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const isEmbedded = config.mqttUrl === null;
  const mqtt = isEmbedded
    ? '3.1.1; publish'
    : config.bridge === 'on'
      ? 'publish'
      : 'no bridge here';
  const topic = isEmbedded || config.bridge === 'on' ? ` to ${app.model.topic}` : '';
  const lines = [
    `Pulsegraph is ready (${seconds} s). Ctrl-C stops it; the data stays.`,
    '',
    ...(config.persistedOnly === 'on' ? [] : [`  Dashboard  ${new URL('/', app.graphqlUrl)}`]),
    `  ${hasGraphiql(config) ? 'GraphiQL' : 'GraphQL '}   ${app.graphqlUrl}`,
    `  MQTT       ${redactUrl(app.mqttUrl)}  (${mqtt}${topic})`,
    ...(app.mqttsUrl === null ? [] : [`  MQTTS      ${app.mqttsUrl}`]),
    `  Database   ${redactUrl(app.databaseUrl)}${password}`,
    ...(app.dataDir === null ? [] : [`  Data       ${app.dataDir}`]),
    '',
    !hasTokens(config)
      ? 'No authentication is set up: only this machine can reach it, and whoever does is the operator.'
      : 'The API asks for tokens: Authorization: Bearer <JWT>, or connectionParams over WebSocket.',
    // At a broker of somebody's own we don't know what a stranger's client has to show.
    ...(isEmbedded
      ? asksForLogin(config)
        ? accounts()
        : config.model === null
          ? tryIt(app)
          : []
      : []),
  ];
  console.log(`\n${lines.join('\n')}\n`);
  log.release();
}

function hasGraphiql({ introspection, persistedOnly }: Config): boolean {
  return introspection === 'on' && persistedOnly === 'off';
}

function accounts(): string[] {
  return [
    'MQTT asks for logins. An account for a user and their devices, and one for a single device:',
    `  ${npx()} bun src/credentials add --user user_123`,
    `  ${npx()} bun src/credentials add --user user_123 --device pump_1`,
  ];
}

function tryIt({ mqttUrl, graphqlUrl }: App): string[] {
  const { hostname, port } = new URL(mqttUrl);
  const broker = `-h ${hostname} -p ${port} -q 1`;
  const time = Math.round(Date.now() / 1000);
  return [
    '',
    'Try it in this folder. An alert: listen in a second shell, send the others from a third.',
    `  ${npx()} mqtt sub ${broker} -t 'users/+/alerts'`,
    `  ${npx()} mqtt pub ${broker} -t users/user_123/config -m '{"temperature_max": 80}'`,
    `  ${npx()} mqtt pub ${broker} -t users/user_123/devices/pump_1/telemetry ` +
      `-m '{"time": ${time}, "sequence_id": 1, "temperature": 85.5, "battery": 15}'`,
    '',
    'A fleet of thirty users, and a verdict: nothing lost, nothing twice.',
    `  ${npx()} bun src/loadtest --rate 200 --duration 30 --url ${graphqlUrl} --mqtt-url ${mqttUrl}`,
  ];
}
