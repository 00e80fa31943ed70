import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../domain/duration.ts';
import { MICROS_PER_SECOND } from '../domain/time.ts';
import { isTopicName } from '../domain/topic.ts';

export interface TokenRequest {
  role: 'user' | 'operator' | 'device';
  /** Null for an operator. */
  userId: string | null;
  /** Of a device only. */
  deviceId: string | null;
  expiresSeconds: number;
}

type Parsed = { kind: 'token'; request: TokenRequest } | { kind: 'exit'; code: 0 | 2 };

const EXAMPLES = `
Examples:
  bun src/token --user user_1
  bun src/token --user user_1 --device pump_1 --expires 30d
  bun src/token --role operator --expires 1h

It prints an HS256 token, signed with AUTH_JWT_SECRET as the server reads it. Send it as
Authorization: Bearer <token>, over WebSocket in connectionParams.`;

const MAX_SECONDS = 10 * 366 * 86_400;

/** Reads the command line. Help and faults are printed here, a fault names the option. */
export function parseOptions(
  argv: readonly string[],
  write: { out: (text: string) => void; err: (text: string) => void },
): Parsed {
  const command = new Command('bun src/token')
    .description('Makes a token for the API.')
    .exitOverride()
    .configureOutput({ writeOut: write.out, writeErr: write.err })
    .showHelpAfterError('(--help shows all options)')
    .option('--user <name>', 'whose token it is', name)
    .addOption(
      new Option(
        '--role <role>',
        '"user", or "device" with --device, where it is left out',
      ).choices(['user', 'operator', 'device']),
    )
    .option('--device <name>', 'the one device of the user that the token is for', name)
    .addOption(
      new Option('--expires <duration>', 'how long it is good: 90s, 30m, 1h, 7d')
        .argParser(lifetime)
        .default(3_600, '1h'),
    )
    .addHelpText('after', EXAMPLES);
  try {
    command.parse(argv, { from: 'user' });
    return { kind: 'token', request: readRequest(command) };
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: 'exit', code: error.exitCode === 0 ? 0 : 2 };
  }
}

function readRequest(command: Command): TokenRequest {
  const {
    user,
    device,
    expires,
    role: named,
  } = command.opts<{
    user?: string;
    device?: string;
    role?: TokenRequest['role'];
    expires: number;
  }>();
  const role = named ?? (device === undefined ? 'user' : 'device');
  if (role !== 'operator' && user === undefined) {
    command.error('error: --user NAME is missing: whose token is it?');
  }
  if (role === 'operator' && user !== undefined) {
    command.error('error: --user does not go with --role operator, who sees every user');
  }
  if ((role === 'device') !== (device !== undefined)) {
    command.error('error: --role device and --device NAME go together');
  }
  return { role, userId: user ?? null, deviceId: device ?? null, expiresSeconds: expires };
}

function name(text: string): string {
  if (isTopicName(text)) return text;
  throw new InvalidArgumentError('It is a level of an MQTT topic: not empty, no / + or #.');
}

function lifetime(text: string): number {
  const duration = parseDuration(text);
  if (duration !== null && duration.months === 0) {
    const seconds = duration.days * 86_400 + Math.floor(duration.micros / MICROS_PER_SECOND);
    if (seconds >= 1 && seconds <= MAX_SECONDS) return seconds;
  }
  throw new InvalidArgumentError('Write such as 90s, 30m, 1h or 7d, up to 10 years.');
}
