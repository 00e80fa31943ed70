import { Database } from 'bun:sqlite';
import { afterEach, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSessionFile } from '../../src/mqtt/session-file.ts';
import { createWriteGroup } from '../../src/mqtt/write-group.ts';
import { Cleanup } from './helpers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.end());

test('a session file in use, damaged or too new says what to do', () => {
  const folder = cleanup.folder();
  const path = join(folder, 'mqtt.sqlite');
  const db = openSessionFile(path);
  expect(() => openSessionFile(path)).toThrow(`${path} is in use by another process: stop that`);
  db.run('PRAGMA user_version = 2');
  db.close();
  expect(() => openSessionFile(path)).toThrow('was written by a newer Pulsegraph');
  const damaged = join(folder, 'damaged.sqlite');
  writeFileSync(damaged, 'not a database'.repeat(1_000));
  expect(() => openSessionFile(damaged)).toThrow("can't be used as the MQTT session store");
});

test('a commit that fails rejects all who waited, and the next group starts afresh', async () => {
  const db = new Database(join(cleanup.folder(), 'group.sqlite'));
  cleanup.add(() => db.close());
  db.run('PRAGMA foreign_keys = ON');
  db.run('CREATE TABLE parent (id INTEGER PRIMARY KEY)');
  db.run('CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)');
  let rollbacks = 0;
  const group = createWriteGroup(db, { onRollback: () => rollbacks++ });
  cleanup.add(() => group.close());
  const count = () => db.query<{ n: number }, []>('SELECT count(*) AS n FROM parent').get()?.n;

  group.write(() => db.run('INSERT INTO parent VALUES (1)'));
  const first = group.durable();
  group.write(() => db.run('INSERT INTO child VALUES (99)'));
  const second = group.durable();
  expect(count()).toBe(1);
  await expect(first).rejects.toThrow('FOREIGN KEY');
  await expect(second).rejects.toThrow('FOREIGN KEY');
  expect([count(), rollbacks]).toEqual([0, 1]);

  group.write(() => db.run('INSERT INTO parent VALUES (2)'));
  await group.durable();
  expect(db.inTransaction).toBe(false);
  expect([count(), rollbacks]).toEqual([1, 1]);
});
