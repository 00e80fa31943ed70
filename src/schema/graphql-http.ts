import { type GraphQLSchema, NoSchemaIntrospectionCustomRule, parse, validate } from 'graphql';
import {
  createYoga,
  handleStreamOrSingleExecutionResult,
  type Plugin,
  type YogaServerInstance,
} from 'graphql-yoga';
import { type Authenticate, type Authenticated, bearerToken } from './authenticate.ts';
import { type Context, createContext, type Push, type SchemaDeps } from './context.ts';
import { OnlyWhatADeviceMaySee } from './device-view.ts';
import { apiError, cleaned, publicError } from './errors.ts';
import { graphiqlOptions, renderGraphiQL } from './graphiql.ts';
import type { DocumentParams, Documents } from './persisted-documents.ts';
import { sharedResults } from './shared-results.ts';
import { createStreamSlots } from './stream-slots.ts';
import { UnconditionalSubscription } from './unconditional-subscription.ts';

export type Yoga = YogaServerInstance<Record<string, unknown>, Context>;

/** A document of that size takes milliseconds to validate; its time grows with the square. */
const MAX_TOKENS = 5_000;
/** Browsers ask again, before they send, after this time. */
const PREFLIGHT_SECONDS = 600;

export interface GraphqlHttpOptions {
  authenticate: Authenticate;
  hasTokens: boolean;
  /** Whether pages of other origins may read answers; which ones is decided before. */
  openToOrigins: boolean;
  /** Event streams over HTTP at a time. */
  maxStreams: number;
  requestTimeoutMs: number;
  introspection: boolean;
  graphiql: boolean;
  documents: Documents;
}

/** What an operation brings, over HTTP and WebSocket alike. */
export interface Initial {
  requestId: string;
  /** Of the socket, once it said who it is; over HTTP of the request. */
  caller?: Authenticated;
  /** Absent where the operation came by WebSocket. */
  request?: Request;
  /** See Door. */
  push?: Push;
}

/** The GraphQL server behind HTTP and WebSocket alike. */
export function createGraphqlHttp(
  deps: SchemaDeps,
  schema: GraphQLSchema,
  options: GraphqlHttpOptions,
): Yoga {
  const streams = createStreamSlots(options.maxStreams);

  function contextOf({ requestId, caller, request, push }: Initial): Context {
    const { viewer, expiresAtMs } = caller as Authenticated;
    const timeoutMs = options.requestTimeoutMs;
    // A socket ends with its token, and has a limit of its own.
    const door = request
      ? { expiresAtMs, streams, push: null }
      : { expiresAtMs: null, streams: null, push: push ?? null };
    return createContext(deps, viewer, { requestId, timeoutMs, ...door });
  }

  return createYoga<Record<string, unknown>, Context>({
    schema,
    graphqlEndpoint: '/graphql',
    context: (initial) => contextOf(initial as unknown as Initial),
    graphiql: options.graphiql && graphiqlOptions(options.hasTokens),
    renderGraphiQL,
    landingPage: false,
    cors: options.openToOrigins && {
      origin: '*',
      credentials: false,
      methods: ['GET', 'POST', 'OPTIONS'],
      exposedHeaders: ['x-request-id'],
      maxAge: PREFLIGHT_SECONDS,
    },
    batching: false,
    multipart: false,
    logging: false,
    // Ours knows of which request an error is.
    maskedErrors: false,
    extraParamNames: ['documentId'],
    plugins: [
      readableUrl(),
      admission(options),
      boundedParse(),
      boundedValidation(options),
      endlessSubscriptions(),
      sharedResults(),
      publicErrors(deps),
    ],
  }) as unknown as Yoga;
}

/** Over HTTP: who asks, then what, before anything is told of the schema. */
function admission({ authenticate, documents }: GraphqlHttpOptions): Plugin {
  return {
    async onParams({ request, context, params, setParams }) {
      const token = bearerToken(request.headers.get('authorization'));
      (context as unknown as Initial).caller = await authenticate(token);
      // GET has it in the URL.
      const inUrl = new URL(request.url).searchParams.get('documentId') ?? undefined;
      const { documentId = inUrl, ...rest } = params as DocumentParams;
      const query = documents.textOf({ ...rest, documentId });
      setParams({ ...rest, query } as typeof params);
    },
  };
}

/** Yoga parses what GET has in the URL, and takes a failure for its own. */
function readableUrl(): Plugin {
  return {
    onRequestParse({ request }) {
      if (request.method !== 'GET') return;
      const { searchParams } = new URL(request.url);
      for (const name of ['variables', 'extensions']) {
        const value = searchParams.get(name);
        if (value && !isJson(value)) {
          const message = `${name}: not JSON; write a JSON object, URL-encoded`;
          throw apiError('BAD_USER_INPUT', message, { http: { status: 400 } });
        }
      }
    },
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function boundedParse(): Plugin {
  return {
    onParse({ setParseFn }) {
      setParseFn((source, options) => parse(source, { ...options, maxTokens: MAX_TOKENS }));
    },
  };
}

function boundedValidation({ introspection }: GraphqlHttpOptions): Plugin {
  return {
    onValidate({ context, addValidationRule, setValidationFn }) {
      const { caller } = context as unknown as Initial;
      addValidationRule(UnconditionalSubscription);
      if (caller?.viewer.kind === 'device') addValidationRule(OnlyWhatADeviceMaySee);
      if (introspection) return;
      addValidationRule(NoSchemaIntrospectionCustomRule);
      setValidationFn(((of: GraphQLSchema, document: never, rules: never) =>
        validate(of, document, rules, { hideSuggestions: true })) as typeof validate);
    },
  };
}

/** The deadline of a request is not that of a subscription: only each statement's is. */
function endlessSubscriptions(): Plugin<Context> {
  return {
    onSubscribe({ args }) {
      args.contextValue.deadline.atMs = Number.POSITIVE_INFINITY;
    },
  };
}

/**
 * Nothing of what is inside gets out by an error; refusals before the execution, of the parser, the
 * validation and the variables, get a code too.
 */
function publicErrors({ logger }: SchemaDeps): Plugin<Context> {
  return {
    onExecute: ({ args }) => ({
      onExecuteDone: (payload) =>
        handleStreamOrSingleExecutionResult(payload, ({ result, setResult }) =>
          setResult(cleaned(result, args.contextValue)),
        ),
    }),
    onSubscribe: ({ args }) => ({
      // The answers to its events are cleaned where they are made, for all subscribers at once.
      onSubscribeResult({ result, setResult }) {
        if (!(Symbol.asyncIterator in result)) setResult(cleaned(result, args.contextValue));
      },
      onSubscribeError({ error, setError }) {
        if (error instanceof DOMException) throw error;
        setError(publicError(error, args.contextValue));
      },
    }),
    onResultProcess({ result, setResult, serverContext }) {
      if (Array.isArray(result) || Symbol.asyncIterator in result) return;
      const { requestId } = serverContext as unknown as Initial;
      setResult(cleaned(result, { logger, requestId }));
    },
  };
}
