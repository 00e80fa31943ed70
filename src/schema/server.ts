import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { createReadingFollower } from '../engine/follow-readings.ts';
import { type Authenticate, everybodyIsOperator } from './authenticate.ts';
import type { SchemaDeps } from './context.ts';
import { createGraphqlHttp } from './graphql-http.ts';
import { createGraphqlWs, type SocketData } from './graphql-ws.ts';
import { createSchema } from './index.ts';
import { listen, type ServerTls } from './listen.ts';
import { createMetrics, type Figure } from './metrics.ts';
import { createDocuments } from './persisted-documents.ts';
import { foreignRequest } from './same-origin.ts';

export interface ServerOptions extends Omit<SchemaDeps, 'subscriptions'> {
  host: string;
  /** 0 takes a free one. */
  port: number;
  logger: Logger;
  /** What other parts tell Prometheus. */
  figures?: readonly Figure[];
  /** Whether the process can take in and store; the reason goes to /readyz. */
  readiness: () => { ok: boolean; reason?: string };
  /** What browsers get at `/`; null for a path that is not its own. Without, GraphiQL. */
  dashboard?: (request: Request, pathname: string) => Promise<Response | null>;
  /** Null: whoever may ask is the operator, and only this machine may. */
  authenticate?: Authenticate | null;
  /** Of web pages that may ask, besides our own; null: any with tokens, none without. */
  allowedOrigins?: '*' | readonly string[] | null;
  /** HTTP and WebSocket are served over TLS, and only so. */
  tls?: ServerTls | null;
  /** Whether the schema may be asked for; without, GraphiQL is off too. */
  introspection?: boolean;
  /** Documents by their ids, and whether nothing else is taken; see persisted-documents.ts. */
  persisted?: { documents: Record<string, string>; only: boolean };
  /** A query that is not done by then ends, and what it asks of the database is cancelled. */
  requestTimeoutMs?: number;
  maxWebSockets?: number;
  /** Operations of one WebSocket at a time. */
  maxSubscriptions?: number;
  /** A WebSocket client that reads nothing for so long is cut off. */
  stallMs?: number;
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

const DEFAULTS = {
  requestTimeoutMs: 30_000,
  maxWebSockets: 5_000,
  maxSubscriptions: 100,
  stallMs: 30_000,
  maxStreams: 1_000,
};
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
  const hasTokens = authenticate !== everybodyIsOperator;
  const origins = options.allowedOrigins ?? (hasTokens ? '*' : []);
  const { introspection = true, persisted = { documents: {}, only: false } } = options;
  const documents = createDocuments(persisted.documents, persisted.only);
  const limits = { ...DEFAULTS, ...options };
  const schema = createSchema(options.model);
  const deps: SchemaDeps = { ...options, subscriptions: { open: 0 } };
  const yoga = createGraphqlHttp(deps, schema, {
    authenticate,
    hasTokens,
    openToOrigins: origins.length > 0,
    maxStreams: limits.maxStreams,
    requestTimeoutMs: limits.requestTimeoutMs,
    introspection,
    graphiql: introspection && !persisted.only,
    documents,
  });
  const sockets = createGraphqlWs({
    yoga,
    logger,
    authenticate,
    documents,
    maxSockets: limits.maxWebSockets,
    maxOperations: limits.maxSubscriptions,
    stallMs: limits.stallMs,
  });
  const metrics = createMetrics({
    engineStatus: options.engineStatus,
    figures: [...doorFigures(() => server.pendingWebSockets, deps), ...(options.figures ?? [])],
  });
  let lastReason = '';

  async function answer(
    request: Request,
    server: Bun.Server<SocketData>,
  ): Promise<Response | undefined> {
    const refusal = foreignRequest(request.headers, { hasTokens, origins });
    if (refusal !== null) return text(403, refusal);
    // An empty or unusable Host leaves a path alone.
    const pathname = URL.parse(request.url)?.pathname;
    if (pathname === undefined) return text(400, 'send the name of this server as Host');
    switch (pathname) {
      case '/graphql':
        return request.headers.get('upgrade')?.toLowerCase() === 'websocket'
          ? upgrade(request, server)
          : await graphql(request);
      case '/':
        return (await options.dashboard?.(request, pathname)) ?? Response.redirect('/graphql', 302);
      case '/healthz':
        return text(200, 'ok');
      case '/readyz': {
        const { ok, reason = 'not ready' } = options.readiness();
        if (ok) return text(200, 'ok');
        // With tokens the port is open to strangers, who learn nothing of what is inside.
        if (reason !== lastReason) logger.warn({ reason }, 'not ready');
        lastReason = reason;
        return text(503, hasTokens ? 'not ready' : reason);
      }
      case '/metrics':
        return new Response(await metrics.text(), {
          headers: { 'content-type': metrics.contentType },
        });
      default:
        return (
          (await options.dashboard?.(request, pathname)) ??
          text(404, 'not here: GraphQL is at /graphql')
        );
    }
  }

  async function graphql(request: Request): Promise<Response> {
    // What a form or a script of another page could send without asking first is refused.
    const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (request.method === 'POST' && type !== 'application/json') {
      return text(415, 'send GraphQL as content-type: application/json');
    }
    const requestId = requestIdOf(request.headers);
    const response = await yoga.fetch(request, { requestId });
    response.headers.set('x-request-id', requestId);
    return response;
  }

  function upgrade(request: Request, server: Bun.Server<SocketData>): Response | undefined {
    if (!sockets.accepts(request.headers.get('sec-websocket-protocol'))) {
      return text(400, 'the WebSocket subprotocol here is graphql-transport-ws');
    }
    if (!sockets.hasRoom()) {
      return text(503, `${limits.maxWebSockets} WebSockets are open here: try again later`);
    }
    const authorization = request.headers.get('authorization');
    const data = { authorization, socket: null, caller: null };
    return server.upgrade(request, { data }) ? undefined : text(400, 'not a WebSocket handshake');
  }

  const server = listen(options, {
    tls: options.tls,
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
    url: `${options.tls ? 'https' : 'http'}://${host}:${port}`,
    port,
    async close() {
      const finished = server.stop();
      sockets.closeAll();
      metrics.close();
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

function doorFigures(sockets: () => number, deps: Pick<SchemaDeps, 'subscriptions'>): Figure[] {
  return [
    {
      name: 'pulsegraph_websocket_connections',
      help: 'WebSockets of the API that are open',
      type: 'gauge',
      read: sockets,
    },
    {
      name: 'pulsegraph_subscriptions',
      help: 'GraphQL subscriptions that are open, over WebSocket and event streams',
      type: 'gauge',
      read: () => deps.subscriptions.open,
    },
  ];
}

/** The sender's own, where it is fit for a log. */
function requestIdOf(headers: Headers): string {
  const given = headers.get('x-request-id') ?? '';
  return /^[\w.:-]{1,100}$/.test(given) ? given : randomUUID();
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
