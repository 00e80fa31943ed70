import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isEnumType, parse, validate } from 'graphql';
import { ROOT } from '../../scripts/generate.ts';
import { model } from '../../src/model.ts';
import { readManageMessage } from '../../src/mqtt/manage-message.ts';
import { createSchema } from '../../src/schema/index.ts';

const text = readFileSync(join(ROOT, 'docs/alerts.md'), 'utf8');
const blocks = (language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(
    ([, code]) => code as string,
  );
const schema = createSchema(model);

test('the operations in docs/alerts.md are valid, one of each', () => {
  const actions = blocks('json').map((code) => {
    const message = readManageMessage(new TextEncoder().encode(code));
    if (message.kind !== 'operation') throw new Error(`${code}: ${JSON.stringify(message)}`);
    return message.subject.action;
  });
  expect(actions).toEqual(['ACKNOWLEDGE', 'SNOOZE', 'UNSNOOZE', 'DISABLE', 'ENABLE']);
});

test('the mutations in docs/alerts.md are valid', () => {
  const documents = blocks('graphql');
  expect(documents).toHaveLength(1);
  for (const code of documents) expect(validate(schema, parse(code))).toEqual([]);
});

test('docs/alerts.md has every type of event', () => {
  const type = schema.getType('AlertEventType');
  if (!isEnumType(type)) throw new Error('AlertEventType is no enum');
  for (const { name } of type.getValues()) expect(text).toContain(`\`${name}\``);
});
