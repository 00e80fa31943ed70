import { type GraphQLSchema, parse } from 'graphql';
import { createYoga, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import { type Context, createContext, type SchemaDeps, type Viewer } from './context.ts';
import { publicError } from './errors.ts';
import { GRAPHIQL_OPTIONS, renderGraphiQL } from './graphiql.ts';

export type Yoga = YogaServerInstance<Record<string, unknown>, Context>;

/** A document of that size takes milliseconds to validate; its time grows with the square. */
const MAX_TOKENS = 5_000;

/** The GraphQL server behind HTTP and WebSocket alike. */
export function createGraphqlHttp(deps: SchemaDeps, schema: GraphQLSchema, viewer: Viewer): Yoga {
  return createYoga<Record<string, unknown>, Context>({
    schema,
    graphqlEndpoint: '/graphql',
    context: () => createContext(deps, viewer),
    graphiql: GRAPHIQL_OPTIONS,
    renderGraphiQL,
    landingPage: false,
    // A foreign origin is refused before; nobody else needs to read across origins.
    cors: false,
    batching: false,
    multipart: false,
    logging: false,
    maskedErrors: { maskError: (error) => publicError(error, deps.logger) },
    plugins: [boundedParse(), publicErrors(deps)],
  }) as unknown as Yoga;
}

function boundedParse(): Plugin {
  return {
    onParse({ setParseFn }) {
      setParseFn((source, options) => parse(source, { ...options, maxTokens: MAX_TOKENS }));
    },
  };
}

/** Refusals before the execution, of the parser, the validation and the variables, get a code too. */
function publicErrors({ logger }: SchemaDeps): Plugin {
  return {
    onResultProcess({ result, setResult }) {
      if (Array.isArray(result) || Symbol.asyncIterator in result || !result.errors) return;
      setResult({ ...result, errors: result.errors.map((error) => publicError(error, logger)) });
    },
  };
}
