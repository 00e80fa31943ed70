import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, parse, validate } from 'graphql';
import * as documents from '../../src/web/state/documents.ts';

const schema = buildSchema(
  readFileSync(join(import.meta.dir, '..', '..', 'schema.graphql'), 'utf8'),
);

test('the dashboard imports nothing of the server', async () => {
  const folder = join(import.meta.dir, '..', '..', 'src', 'web');
  const foreign: string[] = [];
  for await (const path of new Bun.Glob('**/*.{ts,tsx}').scan(folder)) {
    if (path === 'serve.ts') continue;
    const text = readFileSync(join(folder, path), 'utf8');
    for (const [, from = ''] of text.matchAll(/from '([^']+)'/g)) {
      const isOwn = from.startsWith('.') && join(folder, path, '..', from).startsWith(folder);
      if (!isOwn && !/^(preact|@preact|uplot|graphql-ws)/.test(from)) foreign.push(from);
    }
  }
  expect(foreign).toEqual([]);
});

/** Each as the default model fills it in. */
function text(name: string, document: unknown): string {
  if (typeof document === 'string') return document;
  const make = document as (...fields: unknown[]) => string;
  if (name === 'someDevices') return make('temperature battery', 3);
  const isOfRules = /rule|shorthand|history/i.test(name);
  return make(isOfRules ? 'temperatureMax' : 'temperature battery', 'temperatureMax');
}

test.each(Object.entries(documents))('the schema has what %s asks for', (name, document) => {
  const errors = validate(schema, parse(text(name, document)));
  expect(errors.map(({ message }) => message)).toEqual([]);
});
