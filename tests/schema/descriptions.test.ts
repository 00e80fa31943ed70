import { expect, test } from 'bun:test';
import { join } from 'node:path';
import {
  buildSchema,
  type GraphQLNamedType,
  isEnumType,
  isInputObjectType,
  isObjectType,
  isSpecifiedScalarType,
} from 'graphql';
import { ROOT } from '../../scripts/generate.ts';

/** `Type`, `Type.field`, `Type.field(argument)` and `Enum.VALUE` of all that is not described. */
function undescribed(type: GraphQLNamedType): string[] {
  const parts: [name: string, described: { description?: string | null }][] = [[type.name, type]];
  if (isObjectType(type)) {
    for (const field of Object.values(type.getFields())) {
      parts.push([`${type.name}.${field.name}`, field]);
      for (const argument of field.args) {
        parts.push([`${type.name}.${field.name}(${argument.name})`, argument]);
      }
    }
  }
  if (isInputObjectType(type)) {
    for (const field of Object.values(type.getFields())) {
      parts.push([`${type.name}.${field.name}`, field]);
    }
  }
  if (isEnumType(type)) {
    for (const value of type.getValues()) parts.push([`${type.name}.${value.name}`, value]);
  }
  return parts.filter(([, { description }]) => !description).map(([name]) => name);
}

test('every type, field, argument and value of the printed schema is described', async () => {
  const schema = buildSchema(await Bun.file(join(ROOT, 'schema.graphql')).text());
  const types = Object.values(schema.getTypeMap()).filter(
    (type) => !type.name.startsWith('__') && !isSpecifiedScalarType(type),
  );
  expect(types.length).toBeGreaterThan(40);
  expect(types.flatMap(undescribed)).toEqual([]);
});
