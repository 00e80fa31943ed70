import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, validate } from 'graphql';
import { ROOT } from '../../scripts/generate.ts';
import { RULE_STATUSES } from '../../src/domain/explain.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { mergeConfig, NO_CONTENT } from '../../src/domain/rule-content.ts';
import { model } from '../../src/model.ts';
import { createSchema } from '../../src/schema/index.ts';

const text = readFileSync(join(ROOT, 'docs/rules.md'), 'utf8');
const blocks = (language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, code]) => code);

test('the configs in docs/rules.md are valid, one after the other', () => {
  const configs = blocks('json');
  expect(configs).toHaveLength(3);
  const content = configs.reduce((current, code) => {
    const parsed = parseConfig(JSON.parse(code ?? ''), model);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues));
    return mergeConfig(current, parsed.config, model);
  }, NO_CONTENT);
  expect(content.rules.map(({ id }) => id)).toEqual([
    'overheating',
    'engine.rpm-gte',
    'door.open-eq',
    'quiet',
  ]);
  expect(content.disabled).toEqual({ overheating: ['pump_7'], 'temperature-max': true });
});

test('the queries in docs/rules.md are valid', () => {
  const schema = createSchema(model);
  const documents = blocks('graphql');
  expect(documents).toHaveLength(3);
  for (const code of documents) expect(validate(schema, parse(code ?? ''))).toEqual([]);
});

test('docs/rules.md has every status', () => {
  for (const status of RULE_STATUSES) expect(text).toContain(`\`${status}\``);
});
