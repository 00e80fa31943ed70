import pino from 'pino';
import { type App, startApp } from './app.ts';
import { type Config, ConfigError, loadConfig, redactUrl } from './config.ts';
import { StartError } from './domain/start-error.ts';

const config = readConfig();
const logger = pino(
  { level: config.logLevel, base: null },
  pino.destination({ dest: 2, sync: false }),
);

const startedAt = performance.now();
let stopping: Promise<void> | null = null;
const starting = startApp(config, logger);
process.on('SIGINT', stop);
process.on('SIGTERM', stop);

try {
  announce(await starting);
} catch (error) {
  fail(error);
}

/** The first signal stops in order, the second at once: what is acknowledged is on disk anyway. */
function stop(signal: NodeJS.Signals): void {
  if (stopping !== null) {
    console.error('Stopped at once.');
    process.exit(1);
  }
  console.error(`\n${signal}: storing what was read, then stopping. Again to stop at once.`);
  stopping = starting.then((app) => app.stop());
  stopping.then(() => exit(0), fail);
}

function fail(error: unknown): void {
  if (error instanceof StartError) console.error(error.message);
  else logger.fatal({ err: error }, 'stopped by an unexpected error');
  exit(1);
}

/** Leaves once the log lines are out. */
function exit(code: number): void {
  logger.flush(() => process.exit(code));
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
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`
Pulsegraph is ready (${seconds} s). Ctrl-C stops it; the data stays.

  GraphiQL   ${app.graphqlUrl}
  MQTT       ${app.mqttUrl}  (3.1.1; publish to users/{user}/devices/{device}/telemetry)
  Database   ${redactUrl(app.databaseUrl)}${app.dataDir === null ? '' : `\n  Data       ${app.dataDir}`}

No authentication is set up: only this machine can reach it, and whoever does is the operator.

Try in a second shell:
${commands(app)
  .map((command) => `  ${command}`)
  .join('\n')}
`);
}

function commands(app: App): string[] {
  const mqtt = new URL(app.mqttUrl);
  return [
    `npx bun src/loadtest --rate 200 --duration 30 --url ${app.graphqlUrl} --mqtt-url ${app.mqttUrl}`,
    `npx mqtt pub -h ${mqtt.hostname} -p ${mqtt.port} -q 1 -t users/user_123/devices/pump_1/telemetry ` +
      `-m '{"time": ${Math.round(Date.now() / 1000)}, "sequence_id": 1, "temperature": 85.5, "battery": 15}'`,
    `npx mqtt sub -h ${mqtt.hostname} -p ${mqtt.port} -q 1 -t 'users/+/alerts'`,
  ];
}
