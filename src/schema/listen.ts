import { StartError } from '../domain/start-error.ts';
import type { SocketData } from './graphql-ws.ts';

type ServeOptions = Omit<
  Bun.Serve.Options<SocketData> & { websocket: Bun.WebSocketHandler<SocketData> },
  'hostname' | 'port' | 'routes'
>;

/** @throws StartError where another program has the port */
export function listen(
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
