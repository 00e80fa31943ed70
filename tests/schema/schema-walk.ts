import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
} from 'graphql';

/** An operation that goes from one root field to one field, and asks for what it finds there. */
export interface Step {
  kind: 'query' | 'mutation' | 'subscription';
  /** `Query.user`. */
  root: string;
  document: string;
  /** `Type.field` of each field in it. */
  fields: string[];
}

/** A literal for `Type.field.argument`; null leaves it out. */
export type ArgumentOf = (coordinate: string) => string | null;

/** Every field from every root field, by the shortest way to its type. */
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

type Found = Pick<Step, 'document' | 'fields'>;
type Field = GraphQLField<unknown, unknown>;

function stepsFrom(parent: GraphQLObjectType, root: Field, argumentOf: ArgumentOf): Found[] {
  const call = (type: GraphQLObjectType, field: Field): string => {
    const given = field.args.flatMap((argument) => {
      const literal = argumentOf(`${type.name}.${field.name}.${argument.name}`);
      return literal === null ? [] : [`${argument.name}: ${literal}`];
    });
    return given.length === 0 ? field.name : `${field.name}(${given.join(', ')})`;
  };
  /** All leaves of what a field gives; of a connection, those of its nodes. */
  const content = (type: GraphQLObjectType): string => {
    const fields = Object.values(type.getFields());
    const leaves = fields.filter((field) => !isObjectType(getNamedType(field.type)));
    if (leaves.length > 0) return leaves.map((field) => call(type, field)).join(' ');
    const below = fields.map((field) => {
      return `${call(type, field)} { ${content(getNamedType(field.type) as GraphQLObjectType)} }`;
    });
    return below.join(' ');
  };
  const first = getNamedType(root.type);
  const coordinate = `${parent.name}.${root.name}`;
  const start = call(parent, root);
  if (!isObjectType(first)) return [{ document: `{ ${start} }`, fields: [coordinate] }];
  const steps: Found[] = [];
  const seen = new Set([first.name]);
  const queue: Place[] = [{ type: first, way: [start], fields: [coordinate] }];
  for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
    const { type, way, fields } = place;
    const opened = way.map((each) => `${each} {`).join(' ');
    const closed = '}'.repeat(way.length);
    for (const field of Object.values(type.getFields())) {
      const next = getNamedType(field.type);
      const asked = call(type, field);
      const own = [...fields, `${type.name}.${field.name}`];
      const selected = isObjectType(next) ? `${asked} { ${content(next)} }` : asked;
      steps.push({ document: `{ ${opened} ${selected} ${closed} }`, fields: own });
      if (!isObjectType(next) || seen.has(next.name)) continue;
      seen.add(next.name);
      queue.push({ type: next, way: [...way, asked], fields: own });
    }
  }
  return steps;
}
