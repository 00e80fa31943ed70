/** The database as this process uses it: its pools, its sessions, and its schema up to date. */
import { type Config, redactUrl } from './config.ts';
import { orAborted } from './domain/or-aborted.ts';
import { StartError } from './domain/start-error.ts';
import { openDatabase, type Surroundings } from './modes.ts';
import { connect, type Sql } from './store/connection.ts';
import { errorCode, failureKind } from './store/failure.ts';
import { giveDefaultRules } from './store/give-default-rules.ts';
import { migrate } from './store/migrate.ts';

export type NotifyListener = (channel: string, payload: string) => void;

export interface Database {
  url: string;
  /** For requests and for tidying up, whose statements may take a minute. */
  sql: Sql;
  /** For what follows the database: short statements, one after the other, day and night. */
  followSql: Sql;
  openLane(): Sql;
  /** The connection that lanes share. */
  openGroup(): Sql;
  /** One connection straight to the database, past a pooler, that is never renewed. */
  openSession(onNotify?: NotifyListener): Sql;
}

/** The janitor's longest statement ends by the server's clock at 60 s. */
const REQUEST_ANSWER_MS = 70_000;
/** A change of rules ends by the server's clock at 10 s. */
const FOLLOW_ANSWER_MS = 15_000;
/** Lanes wait for it, and have connections of their own. */
const GROUP_ANSWER_MS = 5_000;

/** @throws StartError where the database is away, refuses the login, or can't be used */
export async function startDatabase(around: Surroundings): Promise<Database> {
  const { config, model, logger, releases, signal } = around;
  const url = await openDatabase(around);
  signal.throwIfAborted();
  const sql = connect(url, { max: 6, answerWithinMs: REQUEST_ANSWER_MS });
  const followSql = connect(url, {
    max: 4,
    applicationName: 'pulsegraph-follow',
    answerWithinMs: FOLLOW_ANSWER_MS,
  });
  releases.add('database connections', async () => {
    await Promise.all([sql, followSql].map((pool) => pool.end({ timeout: 1 })));
  });
  const openSession = (onNotify?: NotifyListener) =>
    connect(config.databaseDirectUrl ?? url, {
      max: 1,
      applicationName: 'pulsegraph-session',
      keepSession: true,
      onNotify,
    });
  const session = openSession();
  try {
    const onAdapted = (additions: readonly string[]) =>
      logger.info({ additions }, 'the tables have what the model has more than before');
    const applied = await orAborted(signal, migrate(session, model, { onAdapted }));
    if (applied.length > 0) logger.info({ applied }, 'the schema is up to date');
    if ('constant' in model.owner) {
      await giveDefaultRules(session, { userIds: [model.owner.constant], model });
    }
  } catch (error) {
    const direct = config.databaseDirectUrl !== null;
    throw explained(error, config, direct ? 'DATABASE_DIRECT_URL' : 'DATABASE_URL');
  } finally {
    await session.end({ timeout: 1 });
  }
  const openLane = () => connect(url, { max: 2, applicationName: 'pulsegraph-lane' });
  const openGroup = () =>
    connect(url, {
      max: 1,
      applicationName: 'pulsegraph-lanes',
      answerWithinMs: GROUP_ANSWER_MS,
    });
  return { url, sql, followSql, openLane, openGroup, openSession };
}

/** What it is about a database that can't be used, where that is no fault of ours. */
export function explained(
  error: unknown,
  config: Pick<Config, 'databaseUrl' | 'databaseDirectUrl'>,
  name: 'DATABASE_URL' | 'DATABASE_DIRECT_URL' = 'DATABASE_URL',
): unknown {
  const url = name === 'DATABASE_URL' ? config.databaseUrl : config.databaseDirectUrl;
  const code = errorCode(error) ?? '';
  const { message } = error as Error;
  const fault = (said: string) =>
    new StartError(
      'DATABASE_UNUSABLE',
      `${name} ${url === null ? 'of the embedded PostgreSQL' : redactUrl(url)} ${said}`,
      { cause: error },
    );
  if (error instanceof StartError) return error;
  if (code.startsWith('28')) {
    return fault(`refuses the login (${message}): correct its user and password`);
  }
  if (code === '3D000') return fault(`(${message}): create the database, or name another`);
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS/.test(code) || / has no TLS: /.test(message)) {
    return fault(`can't be reached over TLS (${message}): correct its sslmode`);
  }
  if (failureKind(error) !== 'outage') return error;
  return fault(`can't be used (${message}): start the database, or correct the URL`);
}
