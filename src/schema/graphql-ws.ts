import { randomUUID } from 'node:crypto';
import { type ExecutionArgs, GraphQLError } from 'graphql';
import { GRAPHQL_TRANSPORT_WS_PROTOCOL, handleProtocols, makeServer } from 'graphql-ws';
import type { Logger } from 'pino';
import { atTime } from './at-time.ts';
import { type Authenticate, type Authenticated, bearerToken } from './authenticate.ts';
import { badArgument, publicError, type Reporter } from './errors.ts';
import type { Initial, Yoga } from './graphql-http.ts';
import { createOutbox, type Outbox } from './outbox.ts';
import type { DocumentParams, Documents } from './persisted-documents.ts';

/** What a socket of Bun.serve carries: set at the upgrade. */
export interface SocketData {
  /** The header, where the client could set one. */
  authorization: string | null;
  socket: OpenSocket | null;
  /** Set once the client has said who it is. */
  caller: Authenticated | null;
}

type BunSocket = Bun.ServerWebSocket<SocketData>;

/** One client, from open to close. */
interface OpenSocket {
  outbox: Outbox;
  receive: (message: string) => Promise<void>;
  closed: (code: number, reason: string) => Promise<void>;
  /** Its token would end the socket. */
  cancelExpiry: () => void;
}

export interface GraphqlWs {
  /** Whether the client speaks our protocol: the header sec-websocket-protocol. */
  accepts(protocols: string | null): boolean;
  /** Whether there is room for one more socket. */
  hasRoom(): boolean;
  handler: Bun.WebSocketHandler<SocketData>;
  /** Tells every client that the server goes away (1001). */
  closeAll(): void;
}

export interface GraphqlWsOptions {
  yoga: Yoga;
  logger: Pick<Logger, 'warn' | 'error'>;
  authenticate: Authenticate;
  documents: Documents;
  maxSockets: number;
  /** Of one socket at a time. */
  maxOperations: number;
  /** A client that reads nothing for so long, while something waits for it, is cut off. */
  stallMs: number;
}

/**
 * A client comes back by itself after 1001, 1013 and 4403: with a new token where the one that it
 * had has expired. After 4401 and 4500 it does not.
 */
const CLOSE = {
  goingAway: 1001,
  tryAgainLater: 1013,
  badRequest: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  internalError: 4500,
} as const;
/** What graphql-ws throws for a valid message of a type that no client sends: `next`, `error`. */
const ONLY_FROM_SERVERS = /^Unexpected message of type \w+ received$/;
/** A close frame has room for 123 bytes of it. */
const MAX_REASON = 100;
const MAX_MESSAGE_BYTES = 1024 * 1024;
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;

/**
 * graphql-transport-ws on Bun's sockets. Unlike graphql-ws's own adapter it closes the socket on a
 * throw, and waits while a client does not read: then its subscriptions pull nothing either.
 */
export function createGraphqlWs(options: GraphqlWsOptions): GraphqlWs {
  const { logger, authenticate, maxOperations } = options;
  const sockets = new Set<BunSocket>();
  const server = makeServer<Record<string, unknown>, BunSocket>({
    onConnect: ({ connectionParams, extra }) => admit(extra, connectionParams),
    onSubscribe: async (ctx, id, payload) => {
      if (Object.keys(ctx.subscriptions).length > maxOperations) {
        const message = `at most ${maxOperations} operations at once on one socket: open another`;
        return [badArgument('', message)];
      }
      const { caller, socket } = ctx.extra.data;
      const head = `{"id":${JSON.stringify(id)},"type":"next","payload":`;
      return await executionArgs(options, payload, {
        caller: caller as Authenticated,
        requestId: randomUUID(),
        push: (answer) => socket?.outbox.send(`${head}${answer}}`),
      });
    },
    execute: (args) => enveloped(args).execute(args) as never,
    subscribe: (args) => enveloped(args).subscribe(args) as never,
  });

  /** The token comes in connectionParams, as browsers can't set a header on a WebSocket. */
  async function admit(ws: BunSocket, params: Record<string, unknown> = {}): Promise<boolean> {
    try {
      const { data } = ws;
      const authorization = params.Authorization ?? params.authorization ?? data.authorization;
      data.caller = await authenticate(bearerToken(authorization));
      const { socket } = data;
      if (socket !== null) {
        const expire = () => socket.outbox.close(CLOSE.forbidden, 'the token has expired');
        socket.cancelExpiry = atTime(data.caller.expiresAtMs, expire);
      }
      return true;
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      ws.close(refusalCode(error), error.message);
      return false;
    }
  }

  function fail(ws: BunSocket, error: unknown): void {
    if (error instanceof Error && ONLY_FROM_SERVERS.test(error.message)) {
      ws.close(CLOSE.badRequest, error.message.slice(0, MAX_REASON));
      return;
    }
    logger.error({ err: error }, 'GraphQL over WebSocket: unexpected error');
    ws.close(CLOSE.internalError, 'unexpected error');
  }

  function open(ws: BunSocket): void {
    sockets.add(ws);
    const socket: OpenSocket = {
      outbox: createOutbox(ws, options.stallMs),
      receive: async () => {},
      closed: async () => {},
      cancelExpiry: () => {},
    };
    ws.data.socket = socket;
    socket.closed = server.opened(
      {
        protocol: GRAPHQL_TRANSPORT_WS_PROTOCOL,
        send: socket.outbox.send,
        close: socket.outbox.close,
        onMessage: (callback) => {
          socket.receive = callback;
        },
      },
      ws,
    ) as OpenSocket['closed'];
  }

  return {
    accepts: (protocols) => protocols !== null && handleProtocols(protocols) !== false,
    hasRoom: () => sockets.size < options.maxSockets,
    handler: {
      maxPayloadLength: MAX_MESSAGE_BYTES,
      backpressureLimit: MAX_BUFFERED_BYTES,
      closeOnBackpressureLimit: true,
      idleTimeout: 120,
      sendPings: true,
      open,
      async message(ws, message) {
        try {
          await ws.data.socket?.receive(String(message));
        } catch (error) {
          fail(ws, error);
        }
      },
      drain: (ws) => ws.data.socket?.outbox.drained(),
      async close(ws, code, reason) {
        sockets.delete(ws);
        ws.data.socket?.cancelExpiry();
        ws.data.socket?.outbox.drained();
        try {
          await ws.data.socket?.closed(code, reason);
        } catch (error) {
          logger.error(
            { err: error },
            'GraphQL over WebSocket: a subscription did not end cleanly',
          );
        }
      },
    },
    closeAll() {
      for (const ws of sockets) ws.close(CLOSE.goingAway, 'the server stops');
    },
  };
}

function refusalCode({ extensions }: GraphQLError): number {
  if (extensions.code === 'UNAVAILABLE') return CLOSE.tryAgainLater;
  return extensions.expired === true ? CLOSE.forbidden : CLOSE.unauthorized;
}

type Enveloped = Pick<ReturnType<Yoga['getEnveloped']>, 'execute' | 'subscribe'>;

function enveloped(args: ExecutionArgs): Enveloped {
  return args.rootValue as Enveloped;
}

type Payload = DocumentParams & {
  operationName?: string | null;
  variables?: object | null;
};

/** As over HTTP, without what HTTP makes a status of. */
function refusal(error: unknown, reporter: Reporter): GraphQLError {
  const { message, nodes, source, path, extensions } = publicError(error, reporter);
  const { http: _, ...rest } = extensions;
  return new GraphQLError(message, { nodes, source, path, extensions: rest });
}

/** Parses and validates as over HTTP; what is wrong with the document is the client's to know. */
async function executionArgs(
  { yoga, logger, documents }: GraphqlWsOptions,
  payload: Payload,
  initial: Initial,
): Promise<ExecutionArgs | readonly GraphQLError[]> {
  const reporter = { logger, requestId: initial.requestId };
  try {
    const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
      params: payload,
      ...initial,
    });
    const document = parse(documents.textOf(payload) ?? '');
    const errors = validate(schema, document) as readonly GraphQLError[];
    if (errors.length > 0) return errors.map((error) => refusal(error, reporter));
    return {
      schema,
      document,
      operationName: payload.operationName,
      variableValues: payload.variables as Record<string, unknown> | undefined,
      contextValue: await contextFactory(),
      rootValue: { execute, subscribe } satisfies Enveloped,
    };
  } catch (error) {
    return [refusal(error, reporter)];
  }
}
