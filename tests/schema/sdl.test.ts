import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { buildSchema, lexicographicSortSchema, printSchema } from 'graphql';
import { GENERATED, ROOT } from '../../scripts/generate.ts';
import { defineModel } from '../../src/domain/model.ts';
import { model } from '../../src/model.ts';
import { createSchema } from '../../src/schema/index.ts';

test('schema.graphql is the schema that is served', async () => {
  const committed = await Bun.file(join(ROOT, 'schema.graphql')).text();
  expect(GENERATED['schema.graphql']).toBeDefined();
  const served = printSchema(lexicographicSortSchema(createSchema(model)));
  expect(printSchema(lexicographicSortSchema(buildSchema(committed)))).toBe(served);
});

test('a model brings its own columns and shorthands', () => {
  const ticks = defineModel({
    table: 'ticks',
    topic: 'users/{user_id}/devices/{device_id}/tick',
    columns: {
      last_price: { type: 'double', nullable: false },
      venue: { type: 'text', nullable: true, maxLength: 10 },
      is_open: { type: 'boolean', nullable: true },
    },
    extraColumn: 'rest',
    shorthands: { price_max: { id: 'price-max', key: 'last_price', operator: '>' } },
  });
  const sdl = printSchema(createSchema(ticks));
  expect(sdl).toContain('lastPrice: Float!');
  expect(sdl).toContain('venue: String\n');
  expect(sdl).toContain('isOpen: Boolean\n');
  expect(sdl).not.toContain('temperature: Float');
  // Of a rule set, of a change of it, and an argument.
  expect(sdl.match(/priceMax: Float/g)).toHaveLength(3);
});
