import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
} from 'graphql';

/** An operation that asks for every field of one type, reached from one root field. */
export interface Step {
  kind: 'query' | 'mutation' | 'subscription';
  /** `Query.user`. */
  root: string;
  /** The type whose fields it asks for; null where the root is a leaf. */
  type: string | null;
  document: string;
  /** `Type.field` of each field in it. */
  fields: string[];
}

/** A literal for `Type.field.argument`; null leaves it out. */
export type ArgumentOf = (coordinate: string) => string | null;

/** Every type from every root field, by the shortest way to it. */
export function walk(schema: GraphQLSchema, argumentOf: ArgumentOf): Step[] {
  const steps: Step[] = [];
  const roots = [
    ['query', schema.getQueryType()],
    ['mutation', schema.getMutationType()],
    ['subscription', schema.getSubscriptionType()],
  ] as const;
  for (const [kind, rootType] of roots) {
    for (const field of Object.values(rootType?.getFields() ?? {})) {
      const parent = rootType as GraphQLObjectType;
      for (const step of stepsFrom(parent, field, argumentOf)) {
        const root = `${parent.name}.${field.name}`;
        steps.push({ ...step, kind, root, document: `${kind} ${step.document}` });
      }
    }
  }
  return steps;
}

interface Place {
  type: GraphQLObjectType;
  /** Fields on the way, with their arguments. */
  way: string[];
  fields: string[];
}

function stepsFrom(
  parent: GraphQLObjectType,
  root: GraphQLField<unknown, unknown>,
  argumentOf: ArgumentOf,
): Pick<Step, 'type' | 'document' | 'fields'>[] {
  const call = (type: GraphQLObjectType, field: GraphQLField<unknown, unknown>) => {
    const given = field.args.flatMap((argument) => {
      const literal = argumentOf(`${type.name}.${field.name}.${argument.name}`);
      return literal === null ? [] : [`${argument.name}: ${literal}`];
    });
    return given.length === 0 ? field.name : `${field.name}(${given.join(', ')})`;
  };
  const first = getNamedType(root.type);
  const coordinate = `${parent.name}.${root.name}`;
  if (!isObjectType(first)) {
    return [{ type: null, document: `{ ${call(parent, root)} }`, fields: [coordinate] }];
  }
  const steps: Pick<Step, 'type' | 'document' | 'fields'>[] = [];
  const seen = new Set([first.name]);
  const queue: Place[] = [{ type: first, way: [call(parent, root)], fields: [coordinate] }];
  for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
    const { type, way, fields } = place;
    const selected: string[] = [];
    const asked = [...fields];
    for (const field of Object.values(type.getFields())) {
      const next = getNamedType(field.type);
      const own = `${type.name}.${field.name}`;
      asked.push(own);
      selected.push(isObjectType(next) ? `${call(type, field)} { __typename }` : call(type, field));
      if (!isObjectType(next) || seen.has(next.name)) continue;
      seen.add(next.name);
      queue.push({ type: next, way: [...way, call(type, field)], fields: [...fields, own] });
    }
    const opened = way.map((each) => `${each} {`).join(' ');
    const document = `{ ${opened} ${selected.join(' ')} ${'} '.repeat(way.length)}}`;
    steps.push({ type: type.name, document, fields: asked });
  }
  return steps;
}
