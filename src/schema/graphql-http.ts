import { type GraphQLSchema, parse } from 'graphql';
import { createYoga, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import { type Authenticate, bearerToken } from './authenticate.ts';
import { type Context, createContext, type SchemaDeps, type Viewer } from './context.ts';
import { publicError } from './errors.ts';
import { GRAPHIQL_OPTIONS, renderGraphiQL } from './graphiql.ts';
import { createStreamSlots } from './stream-slots.ts';

export type Yoga = YogaServerInstance<Record<string, unknown>, Context>;

/** A document of that size takes milliseconds to validate; its time grows with the square. */
const MAX_TOKENS = 5_000;

interface Initial {
  /** Absent where the operation came by WebSocket. */
  request?: Request;
  /** Of the socket, once it said who it is. */
  viewer?: Viewer | null;
}

/** The GraphQL server behind HTTP and WebSocket alike. */
export function createGraphqlHttp(
  deps: SchemaDeps,
  schema: GraphQLSchema,
  options: { authenticate: Authenticate; openToOrigins: boolean; maxStreams: number },
): Yoga {
  const streams = createStreamSlots(options.maxStreams);

  async function contextOf({ request, viewer }: Initial): Promise<Context> {
    // A socket ends with its token, and has a limit of its own.
    if (viewer) return createContext(deps, viewer);
    const token = bearerToken(request?.headers.get('authorization') ?? null);
    const { viewer: caller, expiresAtMs } = await options.authenticate(token);
    return createContext(deps, caller, { expiresAtMs, streams });
  }

  return createYoga<Record<string, unknown>, Context>({
    schema,
    graphqlEndpoint: '/graphql',
    context: (initial) => contextOf(initial as Initial),
    graphiql: GRAPHIQL_OPTIONS,
    renderGraphiQL,
    landingPage: false,
    // With tokens any page may ask, as no browser adds one by itself. Without, a foreign origin is
    // refused before, and nobody needs to read across origins.
    cors: options.openToOrigins ? { origin: '*', credentials: false } : false,
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
