import { randomBytes } from 'node:crypto';
import { type Config, ConfigError, loadConfig } from '../config.ts';
import { explained } from '../database.ts';
import type { Model } from '../domain/model.ts';
import { BCRYPT_MAX_BYTES, hashPassword } from '../domain/password-hash.ts';
import { StartError } from '../domain/start-error.ts';
import { formatMicros } from '../domain/time.ts';
import { compileTopic } from '../domain/topic.ts';
import { runningPostgresUrl } from '../embedded/running-postgres.ts';
import { loadModel } from '../load-model.ts';
import { connect, type Sql } from '../store/connection.ts';
import { errorCode } from '../store/failure.ts';
import {
  insertMqttAccount,
  type ListedAccount,
  listMqttAccounts,
  setMqttDisabled,
  setMqttPassword,
} from '../store/mqtt-credentials.ts';
import { type AddedAccount, parseOptions, type Request } from './options.ts';

/** `bun src/credentials`: 0 done, 1 refused, 2 an option, a setting or the database is wrong. */
const REFUSED = 1;
const WRONG = 2;

const MIN_PASSWORD_LENGTH = 8;
const UNDEFINED_TABLE_OR_COLUMN = ['42P01', '42703'];

const say = (text: string) => process.stderr.write(`${text}\n`);

async function main(): Promise<number> {
  const parsed = parseOptions(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
  if (parsed.kind === 'exit') return parsed.code;
  const config = readConfig();
  if (config === null) return WRONG;
  const url = config.databaseUrl ?? runningPostgresUrl(config.dataDir);
  if (url === null) {
    say(
      `DATABASE_URL: not set, and no embedded PostgreSQL runs on ${config.dataDir}; start ` +
        'Pulsegraph, set DATA_DIR to its folder, or set DATABASE_URL',
    );
    return WRONG;
  }
  const sql = connect(url, { max: 1, applicationName: 'pulsegraph-credentials' });
  try {
    return await run(parsed.request, sql, await loadModel(config));
  } catch (error) {
    const code = errorCode(error) ?? '';
    const known = UNDEFINED_TABLE_OR_COLUMN.includes(code)
      ? new Error('the database has no MQTT accounts yet: start Pulsegraph on it once')
      : explained(error, config);
    if (known === error && !(known instanceof StartError)) throw error;
    say((known as Error).message);
    return WRONG;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function readConfig(): Config | null {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const fault of error.faults) say(fault);
    return null;
  }
}

async function run(request: Request, sql: Sql, model: Model): Promise<number> {
  switch (request.kind) {
    case 'list':
      process.stdout.write(table(await listMqttAccounts(sql)));
      return 0;
    case 'disable':
    case 'enable': {
      const { kind, username } = request;
      const isDisabled = kind === 'disable';
      if (!(await setMqttDisabled(sql, { username, isDisabled }))) return unknown(username);
      say(`${username}: ${kind}d${isDisabled ? '; EMQX forgets its rights within a minute' : ''}`);
      return 0;
    }
    case 'rotate':
    case 'add':
      return await setPassword(request, sql, model);
  }
}

async function setPassword(
  request: Extract<Request, { kind: 'add' | 'rotate' }>,
  sql: Sql,
  model: Model,
): Promise<number> {
  const fault = ownerFault(request, model);
  if (fault !== null) {
    say(`--user: ${fault}`);
    return WRONG;
  }
  const { passwordStdin, kind } = request.password;
  const given = passwordStdin ? (await Bun.stdin.text()).replace(/\r?\n$/, '') : null;
  const weakness = given === null ? null : passwordFault(given);
  if (weakness !== null) {
    say(`--password-stdin: ${weakness}`);
    return WRONG;
  }
  // 192 bits: nobody guesses it, however fast the hash.
  const password = given ?? randomBytes(24).toString('base64url');
  const hash = await hashPassword(password, kind);
  if (request.kind === 'rotate') {
    const { username } = request;
    if (!(await setMqttPassword(sql, { username, ...hash }))) return unknown(username);
    say(`${username}: has another password`);
  } else {
    const { account } = request;
    const { username, role } = account;
    const isSuperuser = role === 'service';
    const added = { username, role, isSuperuser, publishTo: topicOf(account, model), ...hash };
    if (!(await insertMqttAccount(sql, added))) {
      say(`${username}: there is such an account; \`rotate\` gives it another password`);
      return REFUSED;
    }
    say(`${username}: added`);
  }
  if (given === null) {
    say('Its password, which is shown this once:');
    process.stdout.write(`${password}\n`);
  }
  return 0;
}

function ownerFault(request: Request, { owner }: Model): string | null {
  if (request.kind !== 'add' || request.account.role !== 'device') return null;
  if ('column' in owner || request.account.userId === owner.constant) return null;
  return `all readings of this model are of ${owner.constant}; write that`;
}

function passwordFault(password: string): string | null {
  if (password.includes('\0')) return 'has a NUL in it; send text';
  if (password.length < MIN_PASSWORD_LENGTH) {
    return `is shorter than ${MIN_PASSWORD_LENGTH} characters; leave the option out to have one made`;
  }
  return Buffer.byteLength(password) > BCRYPT_MAX_BYTES
    ? `is longer than ${BCRYPT_MAX_BYTES} bytes, of which bcrypt would see no more; send a shorter one`
    : null;
}

/** What it may publish to besides the rights of its role. */
function topicOf(account: AddedAccount, model: Model): string | null {
  const topic = compileTopic(model);
  if (account.role === 'device') return topic.format(account);
  // Users have the telemetry of their own name by their role, if the topic has a user in it.
  const isOwnerOfAll = 'constant' in model.owner && model.owner.constant === account.username;
  return isOwnerOfAll && account.role === 'user' ? topic.filter : null;
}

function unknown(username: string): number {
  say(`${username}: there is no such account; \`list\` prints all`);
  return REFUSED;
}

function table(accounts: ListedAccount[]): string {
  const rows = accounts.map((account) => [
    account.username,
    account.isSuperuser ? 'superuser' : account.role,
    String(account.ownRights),
    formatMicros(account.createdAt).slice(0, 10),
    account.disabledAt === null ? '' : `disabled ${formatMicros(account.disabledAt).slice(0, 10)}`,
  ]);
  const all = [['NAME', 'ROLE', 'OWN RIGHTS', 'SINCE', ''], ...rows];
  const widths = [0, 1, 2, 3].map((i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((text, i) => text.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

process.exitCode = await main();
