import { type ExecutionArgs, GraphQLError } from 'graphql';
import { GRAPHQL_TRANSPORT_WS_PROTOCOL, handleProtocols, makeServer } from 'graphql-ws';
import type { Logger } from 'pino';
import { atTime } from './at-time.ts';
import { type Authenticate, bearerToken } from './authenticate.ts';
import type { Viewer } from './context.ts';
import { badArgument, publicError } from './errors.ts';
import type { Yoga } from './graphql-http.ts';

/** What a socket of Bun.serve carries: set at the upgrade. */
export interface SocketData {
  socket: OpenSocket | null;
  /** Set once the client has said who it is. */
  viewer: Viewer | null;
}

type BunSocket = Bun.ServerWebSocket<SocketData>;

/** One client, from open to close. */
interface OpenSocket {
  receive: (message: string) => Promise<void>;
  closed: (code: number, reason: string) => Promise<void>;
  /** Resolves the sends that wait for the client to read on. */
  drained: () => void;
  /** Its token would end the socket. */
  cancelExpiry: () => void;
}

export interface GraphqlWs {
  /** Whether the client speaks our protocol: the header sec-websocket-protocol. */
  accepts(protocols: string | null): boolean;
  handler: Bun.WebSocketHandler<SocketData>;
  /** Tells every client that the server goes away (1001). */
  closeAll(): void;
}

export interface GraphqlWsOptions {
  yoga: Yoga;
  logger: Pick<Logger, 'error' | 'debug'>;
  authenticate: Authenticate;
  /** Subscriptions of one socket at a time. */
  maxOperations?: number;
}

const CLOSE = { goingAway: 1001, unauthorized: 4401, internalError: 4500 } as const;
const MAX_MESSAGE_BYTES = 1024 * 1024;
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;

/**
 * graphql-transport-ws on Bun's sockets. Unlike graphql-ws's own adapter it closes the socket on a
 * throw, and waits while a client does not read: then its subscriptions pull nothing either.
 */
export function createGraphqlWs({
  yoga,
  logger,
  authenticate,
  maxOperations = 100,
}: GraphqlWsOptions): GraphqlWs {
  const sockets = new Set<BunSocket>();
  const server = makeServer<Record<string, unknown>, BunSocket>({
    onConnect: ({ connectionParams, extra }) => admit(extra, connectionParams),
    onSubscribe: async (ctx, _id, payload) => {
      if (Object.keys(ctx.subscriptions).length > maxOperations) {
        return [badArgument('', `at most ${maxOperations} operations at once on one socket`)];
      }
      return await executionArgs(yoga, logger, payload, ctx.extra.data.viewer);
    },
    execute: (args) => enveloped(args).execute(args) as never,
    subscribe: (args) => enveloped(args).subscribe(args) as never,
  });

  /** The token comes in connectionParams, as browsers can't set a header on a WebSocket. */
  async function admit(ws: BunSocket, params: Record<string, unknown> = {}): Promise<boolean> {
    try {
      const token = bearerToken(params.Authorization ?? params.authorization);
      const { viewer, expiresAtMs } = await authenticate(token);
      ws.data.viewer = viewer;
      const { socket } = ws.data;
      const expire = () => ws.close(CLOSE.unauthorized, 'the token has expired');
      if (socket !== null) socket.cancelExpiry = atTime(expiresAtMs, expire);
      return true;
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      ws.close(CLOSE.unauthorized, error.message);
      return false;
    }
  }

  function fail(ws: BunSocket, error: unknown): void {
    logger.error({ err: error }, 'GraphQL over WebSocket: unexpected error');
    ws.close(CLOSE.internalError, 'unexpected error');
  }

  function open(ws: BunSocket): void {
    sockets.add(ws);
    let waiting: (() => void)[] = [];
    const socket: OpenSocket = {
      receive: async () => {},
      closed: async () => {},
      cancelExpiry: () => {},
      drained: () => {
        const resolved = waiting;
        waiting = [];
        for (const resolve of resolved) resolve();
      },
    };
    ws.data.socket = socket;
    socket.closed = server.opened(
      {
        protocol: GRAPHQL_TRANSPORT_WS_PROTOCOL,
        send(text) {
          const sent = ws.readyState === WebSocket.OPEN ? ws.sendText(text) : 1;
          // Buffered: the next event is pulled once the client has read.
          if (sent === -1) return new Promise((resolve) => waiting.push(resolve));
          // Dropped: a gap that the client can't see. It has to come back and resume.
          if (sent === 0) ws.terminate();
        },
        close: (code, reason) => ws.close(code, reason),
        onMessage: (callback) => {
          socket.receive = callback;
        },
      },
      ws,
    ) as OpenSocket['closed'];
  }

  return {
    accepts: (protocols) => protocols !== null && handleProtocols(protocols) !== false,
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
      drain: (ws) => ws.data.socket?.drained(),
      async close(ws, code, reason) {
        sockets.delete(ws);
        ws.data.socket?.cancelExpiry();
        ws.data.socket?.drained();
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

type Enveloped = Pick<ReturnType<Yoga['getEnveloped']>, 'execute' | 'subscribe'>;

function enveloped(args: ExecutionArgs): Enveloped {
  return args.rootValue as Enveloped;
}

/** Parses and validates as over HTTP; what is wrong with the document is the client's to know. */
async function executionArgs(
  yoga: Yoga,
  logger: Pick<Logger, 'error'>,
  payload: { query: string; operationName?: string | null; variables?: object | null },
  viewer: Viewer | null,
): Promise<ExecutionArgs | readonly GraphQLError[]> {
  try {
    const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
      params: payload,
      viewer,
    });
    const document = parse(payload.query);
    const errors = validate(schema, document) as readonly GraphQLError[];
    if (errors.length > 0) return errors.map((error) => publicError(error, logger));
    return {
      schema,
      document,
      operationName: payload.operationName,
      variableValues: payload.variables as Record<string, unknown> | undefined,
      contextValue: await contextFactory(),
      rootValue: { execute, subscribe } satisfies Enveloped,
    };
  } catch (error) {
    return [publicError(error, logger)];
  }
}
