import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { isTopicName } from '../domain/topic.ts';

interface PasswordOptions {
  passwordStdin: boolean;
  kind: 'bcrypt' | 'pbkdf2';
}

export type Request =
  | ({ kind: 'add'; account: AddedAccount } & { password: PasswordOptions })
  | ({ kind: 'rotate'; username: string } & { password: PasswordOptions })
  | { kind: 'disable' | 'enable'; username: string }
  | { kind: 'list' };

export type AddedAccount =
  | { role: 'user'; username: string }
  | { role: 'device'; username: string; userId: string; deviceId: string }
  | { role: 'service'; username: string };

type Parsed = { kind: 'run'; request: Request } | { kind: 'exit'; code: 0 | 2 };

const EXAMPLES = `
Examples:
  bun src/credentials add --user user_1
  bun src/credentials add --user user_1 --device pump_1
  bun src/credentials rotate user_1:pump_1
  bun src/credentials disable user_1
  printf %s "$PASSWORD" | bun src/credentials add --user user_1 --password-stdin

A generated password is printed on stdout, once; only its hash is kept. The database is that of
DATABASE_URL, or the embedded one of DATA_DIR while Pulsegraph runs.`;

interface Flags {
  user?: string;
  device?: string;
  superuser?: string;
  name?: string;
  passwordStdin?: boolean;
  pbkdf2?: boolean;
}

/** Reads the command line. Help and faults are printed here, a fault names the option. */
export function parseOptions(
  argv: readonly string[],
  write: { out: (text: string) => void; err: (text: string) => void },
): Parsed {
  let request: Request | undefined;
  const program = new Command('bun src/credentials')
    .description('Accounts of MQTT: of users, of devices, and superusers.')
    .exitOverride()
    .configureOutput({ writeOut: write.out, writeErr: write.err })
    .showHelpAfterError('(--help shows all options)')
    .addHelpText('after', EXAMPLES);
  const command = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .exitOverride()
      .configureOutput({ writeOut: write.out, writeErr: write.err });
  const withPassword = (of: Command) =>
    of
      .option('--password-stdin', 'take the password from stdin in place of a generated one')
      .option('--pbkdf2', 'hash with PBKDF2 in place of bcrypt, where emqx.conf says so');
  const adding = withPassword(command('add', 'makes an account'))
    .option(
      '--user <id>',
      'of this user: may write telemetry, config and manage, and read alerts',
      name,
    )
    .option(
      '--device <id>',
      'of one device of that user: may write its telemetry, nothing else',
      name,
    )
    .option('--superuser <name>', 'may do everything: for programs of your own', name)
    .option('--name <name>', 'what a device logs in as; USER:DEVICE where it is left out', name);
  adding.action((flags: Flags) => {
    request = { kind: 'add', account: accountOf(flags, adding), password: passwordOf(flags) };
  });
  withPassword(command('rotate', 'gives an account another password'))
    .argument('<name>', 'what it logs in as')
    .action((username: string, flags: Flags) => {
      request = { kind: 'rotate', username, password: passwordOf(flags) };
    });
  for (const kind of ['disable', 'enable'] as const) {
    command(
      kind,
      kind === 'disable' ? 'ends its logins, and keeps the account' : 'allows them again',
    )
      .argument('<name>', 'what it logs in as')
      .action((username: string) => {
        request = { kind, username };
      });
  }
  command('list', 'prints all accounts').action(() => {
    request = { kind: 'list' };
  });
  try {
    program.parse(argv, { from: 'user' });
    return request === undefined ? { kind: 'exit', code: 2 } : { kind: 'run', request };
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: 'exit', code: error.exitCode === 0 ? 0 : 2 };
  }
}

function accountOf({ user, device, superuser, name }: Flags, command: Command): AddedAccount {
  if ((user === undefined) === (superuser === undefined)) {
    return command.error('error: one of --user ID and --superuser NAME: whose account is it?');
  }
  if (user === undefined) {
    if (device !== undefined || name !== undefined) {
      command.error('error: --device and --name go with --user');
    }
    return { role: 'service', username: superuser as string };
  }
  if (device === undefined) {
    // The topics of a user are those of the account's name.
    if (name !== undefined) command.error('error: --name goes with --device: a user is its name');
    return { role: 'user', username: user };
  }
  return { role: 'device', username: name ?? `${user}:${device}`, userId: user, deviceId: device };
}

function passwordOf({ passwordStdin = false, pbkdf2 = false }: Flags): PasswordOptions {
  return { passwordStdin, kind: pbkdf2 ? 'pbkdf2' : 'bcrypt' };
}

function name(text: string): string {
  if (!isTopicName(text)) {
    throw new InvalidArgumentError('It is a level of an MQTT topic: not empty, no / + or #.');
  }
  // A right fills names into such places.
  if (text.includes('$' + '{')) throw new InvalidArgumentError('It has a dollar sign and a brace.');
  return text;
}
