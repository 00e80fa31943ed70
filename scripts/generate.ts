/** Writes the files that are made from code: `bun run generate`. Tests check that they are current.
 * `bun scripts/generate.ts --model FILE --print` prints the init.sql of another model. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { minifyIntrospection, outputIntrospectionFile } from 'gql.tada/internal';
import { introspectionFromSchema, lexicographicSortSchema, printSchema } from 'graphql';
import { SETTINGS, type Setting } from '../src/config.ts';
import { loadModel } from '../src/load-model.ts';
import { model } from '../src/model.ts';
import { createSchema } from '../src/schema/index.ts';
import { initSql } from '../src/store/migrate.ts';

/** Each generated file, by its path from the root of the repository, and what makes its text. */
export const GENERATED: Record<string, () => string | Promise<string>> = {
  'docs/configuration.md': configurationMarkdown,
  'examples/client/src/graphql-env.d.ts': clientTypes,
  'init.sql': () => initSql(model),
  'schema.graphql': () => `${printSchema(lexicographicSortSchema(createSchema(model)))}\n`,
};

/** As `npx gql.tada generate-output` writes it in the folder of the example. */
function clientTypes(): string {
  const schema = introspectionFromSchema(createSchema(model), { descriptions: false });
  return outputIntrospectionFile(minifyIntrospection(schema), {
    fileType: '.d.ts',
    shouldPreprocess: true,
  });
}

export const ROOT = join(import.meta.dirname, '..');

function configurationMarkdown(): string {
  const rows = (Object.values(SETTINGS) as Setting<unknown>[]).map((setting) => {
    const fallback = setting.default === null ? '' : `\`${setting.default}\``;
    return `| \`${setting.name}\` | ${setting.kind.label} | ${fallback} | ${setting.description} |`;
  });
  return `<!-- Made by \`bun run generate\` from src/config.ts: edit that. -->

# Configuration

Settings are environment variables; a file \`.env\` in the folder of the start is read too, and the
environment wins over it. An empty variable counts as unset. All faults are reported together at the
start, each with what to write instead, and a misspelt name is one of them.

| setting | value | default | meaning |
|---|---|---|---|
${rows.join('\n')}

A **size** is a number of bytes, or has a unit: \`64KiB\`, \`512MiB\`, \`1GiB\`. A **duration** is written as
\`500ms\`, \`90s\`, \`5m\`, \`2h\`, \`1d\`, or in ISO 8601 as \`PT1M30S\`. Passwords in URLs are never printed.

Each part is switched on its own: set \`MQTT_URL\` and that broker is used in place of the embedded one,
set \`KAFKA_BROKERS\` and that log is, set \`DATABASE_URL\` and that database is.
`;
}

/** `bun scripts/generate.ts --model FILE --print` */
const { values } = parseArgs({
  args: import.meta.main ? process.argv.slice(2) : [],
  options: { model: { type: 'string' }, print: { type: 'boolean' } },
});

if (import.meta.main && values.print) {
  process.stdout.write(initSql(await loadModel({ model: values.model ?? null })));
} else if (import.meta.main) {
  for (const [path, text] of Object.entries(GENERATED)) {
    await Bun.write(join(ROOT, path), await text());
    console.log(`wrote ${path}`);
  }
}
