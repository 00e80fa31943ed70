import { StartError } from '../domain/start-error.ts';
import type { SocketData } from './graphql-ws.ts';

type ServeOptions = Omit<
  Bun.Serve.Options<SocketData> & { websocket: Bun.WebSocketHandler<SocketData> },
  'hostname' | 'port' | 'routes' | 'tls'
>;

/** PEM texts. */
export interface ServerTls {
  cert: string;
  key: string;
  /** Clients have to show a certificate that is signed by one of these. */
  clientCa?: string | null;
}

/** @throws StartError where another program has the port */
export function listen(
  { host, port }: { host: string; port: number },
  { tls, ...options }: ServeOptions & { tls?: ServerTls | null | undefined },
): Bun.Server<SocketData> {
  const secured = tls && { tls: bunTls(tls) };
  try {
    return Bun.serve<SocketData>({ ...options, ...secured, hostname: host, port } as never);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EADDRINUSE') throw error;
    throw new StartError(
      'PORT_TAKEN',
      `PORT ${port} is taken: stop the program that listens there, or set PORT to another one`,
      { cause: error },
    );
  }
}

/** Bun hands no request of another client to us: also not the first one, or by a resumed session. */
function bunTls({ cert, key, clientCa }: ServerTls): Bun.TLSOptions {
  if (!clientCa) return { cert, key };
  return { cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: true };
}
