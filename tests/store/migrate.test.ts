import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { ROOT } from '../../scripts/generate.ts';
import { model } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { migrate } from '../../src/store/migrate.ts';
import { migrations } from '../../src/store/migrations.ts';
import { noPgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const ALL = migrations(model).map(({ version }) => version);
const NEWEST = ALL.length;
const PSQL = Bun.which('psql');

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase({ empty: true });
}, 30_000);
afterEach(() => db.drop(), 30_000);

/** All that makes up the schema, as the server itself would write it. */
async function catalog(sql: Sql): Promise<string[]> {
  const rows = await sql.unsafe<{ line: string }[]>(`
    SELECT format('table %s %s %s', relname, relkind, array_to_string(reloptions, ',')) AS line
      FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('column %s.%s %s %s %s %s %s', attrelid::regclass, attname, attnum,
        format_type(atttypid, atttypmod), attnotnull, attidentity,
        pg_get_expr(adbin, adrelid))
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
      WHERE relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname,
        pg_get_constraintdef(oid)) FROM pg_constraint
      WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t
      JOIN pg_class c ON c.oid = tgrelid
      WHERE NOT tgisinternal AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc p
      WHERE pronamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
    UNION ALL SELECT format('view %s %s', viewname, definition) FROM pg_views
      WHERE schemaname = 'public'
    UNION ALL SELECT format('applied %s %s', version, name) FROM schema_migrations
    ORDER BY 1`);
  return rows.map(({ line }) => line);
}

async function newestCatalog(): Promise<string[]> {
  const whole = await testDatabase();
  try {
    return await catalog(whole.sql);
  } finally {
    await whole.drop();
  }
}

describe('the schema', () => {
  test('versions count from 1 without a hole', () => {
    expect(ALL).toEqual(ALL.map((_, index) => index + 1));
  });

  for (const from of ALL.slice(0, -1)) {
    test(`a database at version ${from} is brought to ${NEWEST}, as if it had begun there`, async () => {
      expect(await migrate(db.sql, model, { upTo: from })).toEqual(ALL.slice(0, from));
      expect(await migrate(db.sql, model)).toEqual(ALL.slice(from));
      expect(await catalog(db.sql)).toEqual(await newestCatalog());
      expect(await migrate(db.sql, model)).toEqual([]);
    }, 20_000);
  }

  test('replicas that start at once on an empty database: each version is applied once', async () => {
    const pools = [1, 2, 3].map(() => connect(db.url, { max: 1 }));
    const applied = await Promise.all(pools.map((sql) => migrate(sql, model)));
    expect(applied.flat().sort((a, b) => a - b)).toEqual(ALL);
    await Promise.all(pools.map((sql) => sql.end({ timeout: 1 })));
  }, 20_000);

  test.skipIf(noPgBouncer)(
    'is made through PgBouncer too',
    async () => {
      const pooler = await startPgBouncer(db.url);
      const sql = connect(pooler.url, { max: 1 });
      try {
        expect(await migrate(sql, model)).toEqual(ALL);
      } finally {
        await sql.end({ timeout: 1 });
        await pooler.remove();
      }
    },
    20_000,
  );
});

describe.skipIf(PSQL === null && process.env.CI !== 'true')('init.sql by psql', () => {
  function psql(): { exitCode: number | null; text: string } {
    const program = PSQL ?? 'psql';
    const file = join(ROOT, 'init.sql');
    const run = Bun.spawnSync([
      program,
      '-X',
      '-v',
      'ON_ERROR_STOP=1',
      '-q',
      '-d',
      db.url,
      '-f',
      file,
    ]);
    return { exitCode: run.exitCode, text: `${run.stdout}${run.stderr}` };
  }

  test('leaves what migrating does, and nothing for migrate to do', async () => {
    expect(psql()).toEqual({ exitCode: 0, text: '' });
    expect(await migrate(db.sql, model)).toEqual([]);
    expect(await catalog(db.sql)).toEqual(await newestCatalog());
  }, 20_000);

  test('twice is refused and changes nothing', async () => {
    psql();
    const before = await catalog(db.sql);
    expect(psql().exitCode).not.toBe(0);
    expect(await catalog(db.sql)).toEqual(before);
  }, 20_000);
});

describe('refusals say what to do', () => {
  test('a database made by a newer Pulsegraph', async () => {
    await migrate(db.sql, model);
    await db.sql`INSERT INTO schema_migrations (version, name) VALUES (${NEWEST + 1}, 'later')`;
    await expect(migrate(db.sql, model)).rejects.toThrow(/start the newer version/);
  }, 20_000);

  test('a role that may not create, and one that has nothing to create', async () => {
    const role = `weak_${process.pid}`;
    await db.sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'weak'`);
    const url = new URL(db.url);
    [url.username, url.password] = [role, 'weak'];
    const weak = connect(url.href, { max: 1 });
    try {
      await expect(migrate(weak, model)).rejects.toThrow(/make it the owner of the database/);
      await migrate(db.sql, model);
      await db.sql.unsafe(`GRANT SELECT ON schema_migrations, stream_model TO ${role}`);
      expect(await migrate(weak, model)).toEqual([]);
    } finally {
      await weak.end({ timeout: 1 });
      await db.sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  }, 20_000);
});
