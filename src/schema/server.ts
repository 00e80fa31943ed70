import type { Logger } from 'pino';
import { StartError } from '../domain/start-error.ts';
import { createReadingFollower } from '../engine/follow-readings.ts';
import { type Authenticate, everybodyIsOperator } from './authenticate.ts';
import type { SchemaDeps } from './context.ts';
import { createGraphqlHttp } from './graphql-http.ts';
import { createGraphqlWs, type SocketData } from './graphql-ws.ts';
import { createSchema } from './index.ts';
import { createMetrics } from './metrics.ts';
import { foreignRequest } from './same-origin.ts';

export interface ServerOptions extends SchemaDeps {
  host: string;
  /** 0 takes a free one. */
  port: number;
  logger: Logger;
  /** Whether the process can take in and store; the reason goes to /readyz. */
  readiness: () => { ok: boolean; reason?: string };
  /** Null: whoever may ask is the operator, and only this machine may. */
  authenticate?: Authenticate | null;
  /** Subscriptions over server-sent events at a time; a WebSocket carries many of its own. */
  maxStreams?: number;
  /** How long `close` waits for requests under way. */
  closeDeadlineMs?: number;
}

export interface HttpServer {
  /** Without a path: `http://127.0.0.1:4000`. */
  url: string;
  port: number;
  /** Ends subscriptions, lets requests finish until the deadline, then cuts them off. */
  close(): Promise<void>;
}

const MAX_STREAMS = 1_000;
const MAX_BODY_BYTES = 1024 * 1024;
/** Yoga pings event streams each 12 s; Bun's default of 10 would end them between. */
const IDLE_TIMEOUT_SECONDS = 60;

/**
 * GraphQL over HTTP and WebSocket on /graphql, with GraphiQL for browsers; /healthz, /readyz and
 * /metrics. Without tokens only this machine may ask. With them, the three others still ask for
 * none: /metrics gives counts and lags to whoever reaches the port, /readyz no reasons.
 *
 * @throws StartError where the port can't be had
 */
export async function startServer(options: ServerOptions): Promise<HttpServer> {
  const { logger, closeDeadlineMs = 2_000 } = options;
  const authenticate = options.authenticate ?? everybodyIsOperator;
  const openToOrigins = authenticate !== everybodyIsOperator;
  const schema = createSchema(options.model);
  const yoga = createGraphqlHttp(options, schema, {
    authenticate,
    openToOrigins,
    maxStreams: options.maxStreams ?? MAX_STREAMS,
  });
  const sockets = createGraphqlWs({ yoga, logger, authenticate });
  const metrics = createMetrics(options.engineStatus);
  let lastReason = '';

  async function answer(
    request: Request,
    server: Bun.Server<SocketData>,
  ): Promise<Response | undefined> {
    const refusal = openToOrigins ? null : foreignRequest(request.headers);
    if (refusal !== null) return text(403, refusal);
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case '/graphql':
        return request.headers.get('upgrade')?.toLowerCase() === 'websocket'
          ? upgrade(request, server)
          : await graphql(request);
      case '/':
        return Response.redirect('/graphql', 302);
      case '/healthz':
        return text(200, 'ok');
      case '/readyz': {
        const { ok, reason = 'not ready' } = options.readiness();
        if (ok) return text(200, 'ok');
        // With tokens the port is open to strangers, who learn nothing of what is inside.
        if (reason !== lastReason) logger.warn({ reason }, 'not ready');
        lastReason = reason;
        return text(503, openToOrigins ? 'not ready' : reason);
      }
      case '/metrics':
        return new Response(await metrics.metrics(), {
          headers: { 'content-type': metrics.contentType },
        });
      default:
        return text(404, 'not here: GraphQL is at /graphql');
    }
  }

  async function graphql(request: Request): Promise<Response> {
    // What a form or a script of another page could send without asking first is refused.
    const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (request.method === 'POST' && type !== 'application/json') {
      return text(415, 'send GraphQL as content-type: application/json');
    }
    return await yoga.fetch(request, {});
  }

  function upgrade(request: Request, server: Bun.Server<SocketData>): Response | undefined {
    if (!sockets.accepts(request.headers.get('sec-websocket-protocol'))) {
      return text(400, 'the WebSocket subprotocol here is graphql-transport-ws');
    }
    const upgraded = server.upgrade(request, { data: { socket: null, viewer: null } });
    return upgraded ? undefined : text(400, 'not a WebSocket handshake');
  }

  const server = listen(options, {
    idleTimeout: IDLE_TIMEOUT_SECONDS,
    maxRequestBodySize: MAX_BODY_BYTES,
    fetch: answer,
    websocket: sockets.handler,
    error(error: Error) {
      logger.error({ err: error }, 'HTTP: unexpected error');
      return text(500, 'unexpected error; the log of the server has more');
    },
  });
  // Only with the port: it polls for subscribers.
  const follower = createReadingFollower(options);
  follower.start();
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const port = server.port as number;
  return {
    url: `http://${host}:${port}`,
    port,
    async close() {
      const finished = server.stop();
      sockets.closeAll();
      follower.close();
      const late = Symbol('late');
      const deadline = deadlineOf(closeDeadlineMs, late);
      if ((await Promise.race([finished, deadline.promise])) === late) {
        logger.warn('HTTP requests were still under way at the deadline: cut off');
        await server.stop(true);
      }
      deadline.cancel();
    },
  };
}

type ServeOptions = Omit<
  Bun.Serve.Options<SocketData> & { websocket: Bun.WebSocketHandler<SocketData> },
  'hostname' | 'port' | 'routes'
>;

/** @throws StartError */
function listen(
  { host, port }: { host: string; port: number },
  options: ServeOptions,
): Bun.Server<SocketData> {
  try {
    return Bun.serve<SocketData>({ ...options, hostname: host, port } as never);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EADDRINUSE') throw error;
    throw new StartError(
      'PORT_TAKEN',
      `PORT ${port} is taken: stop the program that listens there, or set PORT to another one`,
      { cause: error },
    );
  }
}

function deadlineOf<T>(ms: number, value: T): { promise: Promise<T>; cancel: () => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  const timer = setTimeout(() => resolve(value), ms);
  return { promise, cancel: () => clearTimeout(timer) };
}

function text(status: number, body: string): Response {
  return new Response(`${body}\n`, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8' },
  });
}
