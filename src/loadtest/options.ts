import { Command, CommanderError, Option } from 'commander';
import { MIN_RUN } from './fleet.ts';
import {
  type ColumnMapping,
  httpUrl,
  integer,
  mapping,
  mqttUrl,
  name,
  positive,
  rate,
  rule,
} from './option-values.ts';
import type { RuleInput } from './rule-queries.ts';

export interface SharedOptions {
  url: string;
  mqttUrl: string;
  protocolVersion: 4 | 5;
  json: boolean;
  window: number;
  settleSeconds: number;
  patienceSeconds: number;
}

export interface LoadOptions extends SharedOptions {
  users: number;
  devicesPerUser: number;
  rate: number;
  durationSeconds: number;
  seed: number;
  meanCalm: number;
}

export interface ReplayOptions extends SharedOptions {
  file: string;
  timeColumn: string;
  columns: ColumnMapping[];
  userId: string;
  deviceId: string;
  /** Infinity: as fast as it goes. */
  rate: number;
  rules: RuleInput[];
}

export type Parsed =
  | { kind: 'load'; options: LoadOptions }
  | { kind: 'replay'; options: ReplayOptions }
  | { kind: 'exit'; code: 0 | 2 };

const EXAMPLES = `
Examples:
  bun src/loadtest --rate 200 --duration 30
  bun src/loadtest --replay machine.csv --time-column timestamp --map value=temperature \\
    --device machine_1 --rule 'temperature < 20 CRITICAL "Machine is cold"'

The load test makes its own users, sets their rules and publishes readings that cross them at known
moments. It exits with 1 when anything acknowledged is lost, stored twice, not alerted, alerted
twice or falsely alerted; with 2 when an option is wrong or the server can't be reached. Ctrl-C
ends the publishing and goes on to the verdict, a second one leaves at once.

A replay plays a CSV file with a header as one device; sequence_id is the row's number. A time
without a zone is UTC; RFC 3339, "YYYY-MM-DD HH:MM:SS" and epoch seconds or milliseconds are read.
Mapped cells are numbers, or empty where there is no value. Rules stay as they are unless --rule is
given; then the given ones replace the user's rules. Set them before the first replay: what is
stored is not judged again. Replaying a file again must change nothing.
`;

const LOAD_ONLY = ['users', 'devicesPerUser', 'duration', 'seed', 'breachEvery'];
const REPLAY_ONLY = ['timeColumn', 'map', 'device', 'user', 'rule'];

/** Reads the command line. Help and faults are printed here, a fault names the option. */
export function parseOptions(
  argv: readonly string[],
  write: { out: (text: string) => void; err: (text: string) => void },
): Parsed {
  const command = createCommand(write);
  try {
    command.parse(argv, { from: 'user' });
    const given = command.opts<Given>();
    const isReplay = given.replay !== undefined;
    const foreign = (isReplay ? LOAD_ONLY : REPLAY_ONLY).find(
      (name) => command.getOptionValueSource(name) === 'cli',
    );
    if (foreign !== undefined) {
      const flag = command.options.find((option) => option.attributeName() === foreign)?.long;
      command.error(
        isReplay
          ? `error: ${flag} does not go with --replay`
          : `error: ${flag} needs --replay FILE`,
      );
    }
    return isReplay ? readReplay(command, given) : readLoad(command, given);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: 'exit', code: error.exitCode === 0 ? 0 : 2 };
  }
}

interface Given {
  users: number;
  devicesPerUser: number;
  rate?: number;
  duration: number;
  seed: number;
  breachEvery: number;
  url: string;
  mqttUrl: string;
  mqttVersion: '4' | '5';
  window: number;
  settle: number;
  patience: number;
  json?: boolean;
  replay?: string;
  timeColumn: string;
  map?: ColumnMapping[];
  device?: string;
  user: string;
  rule?: RuleInput[];
}

const DEFAULT_RATE = 200;

function readLoad(command: Command, given: Given): Parsed {
  const rate = given.rate ?? DEFAULT_RATE;
  if (rate === Number.POSITIVE_INFINITY) {
    command.error('error: --rate max goes with --replay only; give messages a second');
  }
  const { users, devicesPerUser, seed } = given;
  const total = Math.round(rate * given.duration);
  if (total < users * devicesPerUser) {
    command.error(
      `error: --rate ${rate} for --duration ${given.duration} are ${total} messages, fewer than ` +
        `${users * devicesPerUser} devices; raise one or lower --users`,
    );
  }
  const meanCalm = given.breachEvery;
  const durationSeconds = given.duration;
  const options = { users, devicesPerUser, seed, rate, durationSeconds, meanCalm };
  return { kind: 'load', options: { ...shared(given), ...options } };
}

function readReplay(command: Command, given: Given): Parsed {
  if (given.map === undefined) {
    command.error('error: --replay needs --map COLUMN=FIELD, for instance --map value=temperature');
  }
  if (given.device === undefined) {
    command.error('error: --replay needs --device NAME, the device that the file is played as');
  }
  const options: ReplayOptions = {
    ...shared(given),
    file: given.replay as string,
    timeColumn: given.timeColumn,
    columns: given.map ?? [],
    userId: given.user,
    deviceId: given.device ?? '',
    rate: given.rate ?? Number.POSITIVE_INFINITY,
    rules: given.rule ?? [],
  };
  return { kind: 'replay', options };
}

function shared(given: Given): SharedOptions {
  return {
    url: given.url,
    mqttUrl: given.mqttUrl,
    protocolVersion: given.mqttVersion === '5' ? 5 : 4,
    json: given.json === true,
    window: given.window,
    settleSeconds: given.settle,
    patienceSeconds: given.patience,
  };
}

function createCommand(write: Parameters<typeof parseOptions>[1]): Command {
  return new Command('bun src/loadtest')
    .description(
      'Drives Pulsegraph with real MQTT devices and proves what became of every message.',
    )
    .exitOverride()
    .configureOutput({ writeOut: write.out, writeErr: write.err })
    .showHelpAfterError('(--help shows all options)')
    .option('--users <n>', 'users of the fleet', integer(1, 9_999), 30)
    .option('--devices-per-user <n>', 'devices of each user', integer(1, 999), 3)
    .option('--rate <n>', `messages a second, all devices (${DEFAULT_RATE}; replay: max)`, rate)
    .option('--duration <s>', 'seconds of publishing', positive, 60)
    .option('--seed <n>', 'the same seed gives the same readings', integer(0, 2 ** 31), 1)
    .option(
      '--breach-every <n>',
      'mean number of readings between two breaches of a device',
      integer(MIN_RUN, 1_000_000),
      30,
    )
    .option('--url <url>', 'GraphQL', httpUrl, 'http://127.0.0.1:4000/graphql')
    .option('--mqtt-url <url>', 'MQTT broker', mqttUrl, 'mqtt://127.0.0.1:1883')
    .addOption(new Option('--mqtt-version <v>', '4 is MQTT 3.1.1').choices(['4', '5']).default('4'))
    .option('--window <n>', 'most messages under way at once', integer(1, 60_000), 2000)
    .option('--settle <s>', 'seconds to wait for the rest at the end', positive, 60)
    .option('--patience <s>', 'seconds to wait for a server that went away', positive, 120)
    .option('--json', 'one JSON object on stdout; all else goes to stderr')
    .option('--replay <file.csv>', 'play a recorded file instead of the fleet')
    .option('--time-column <name>', 'replay: column with the event time', 'timestamp')
    .option('--map <column=field>', 'replay: column to payload field; may be repeated', mapping)
    .option('--device <name>', 'replay: device to play it as', name)
    .option('--user <name>', 'replay: its user', name, 'replay')
    .option(
      '--rule <rule>',
      'replay: \'KEY OPERATOR NUMBER [SEVERITY] ["MESSAGE"]\'; may be repeated',
      rule,
    )
    .addHelpText('after', EXAMPLES);
}
