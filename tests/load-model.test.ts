import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../src/load-model.ts';
import { model } from '../src/model.ts';

const ROOT = join(import.meta.dir, '..');
const DEFINE = `import { defineModel } from '${join(ROOT, 'src/domain/model.ts')}';\n`;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pulsegraph-model-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, `${name}.ts`);
  writeFileSync(path, text);
  return path;
}

const WRONG = `${DEFINE}export const model = defineModel({
  table: 'ticks', topic: 'ticks/{device_id}', owner: { constant: 'market' }, extraColumn: 'rest',
  colums: {}, columns: { price: { type: 'flot', nullable: false } },
});`;

test('unset it is src/model.ts; a path is from the working directory', async () => {
  expect(await loadModel({ model: null })).toBe(model);
  const relative = await loadModel({ model: 'examples/ticks/model.ts' });
  expect(relative.key).toEqual(['time', 'symbol']);
});

test.each([
  ['gone', null, 'is not there: write the path of a model file'],
  [
    'none',
    'export const modell = {};',
    'exports no model: write `export const model = defineModel',
  ],
  ['plain', 'export const model = { table: "t" };', 'has a model not made by defineModel'],
  ['syntax', 'export const model = {;', "can't be loaded (Expected identifier but found"],
  ['import', 'import "./nowhere.ts";', "can't be loaded (Cannot find module './nowhere.ts'"],
  ['wrong', WRONG, 'columns.price.type must be one of double integer text boolean'],
  ['unknown', WRONG, 'colums is not a field here; known are table, topic'],
])('a file that is %s', async (name, text, fault) => {
  const path = text === null ? join(folder, 'gone.ts') : file(name, text);
  const failed = loadModel({ model: path }).then(() => '', String);
  expect(await failed).toContain(fault);
  expect(await failed).toContain(`MODEL: ${path}`);
});

test('the process ends with 1, and says why', () => {
  const { exitCode, stderr, stdout } = Bun.spawnSync([process.execPath, 'src/index.ts'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, MODEL: file('exit', WRONG), DATA_DIR: join(folder, 'data') },
  });
  expect([exitCode, stdout.toString()]).toEqual([1, '']);
  expect(stderr.toString()).toContain('columns.price.type must be one of');
}, 20_000);

test('the schema of another model is printed', () => {
  const command = ['scripts/generate.ts', '--model', 'examples/ticks/model.ts', '--print'];
  const { exitCode, stdout } = Bun.spawnSync([process.execPath, ...command], { cwd: ROOT });
  expect(exitCode).toBe(0);
  expect(stdout.toString()).toContain('PRIMARY KEY (time, symbol)');
}, 20_000);
