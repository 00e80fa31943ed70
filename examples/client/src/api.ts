import type { TadaDocumentNode } from 'gql.tada';
import { print } from 'graphql';
import { createClient } from 'graphql-ws';

export interface ApiOptions {
  /** `http://127.0.0.1:4000/graphql`; a WebSocket is opened at the same place. */
  url: string;
  /** Asked for at each request and connection: it may be a new one; null where none is needed. */
  token: () => string | null | Promise<string | null>;
}

/** What the server refused: `code` is stable, the message says what to do. */
export class ApiError extends Error {
  override name = 'ApiError';
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The connection is gone: `code` is that of WebSocket's close event. */
export class ConnectionLost extends Error {
  override name = 'ConnectionLost';
  constructor(readonly code: number) {
    super(`the connection was closed (${code})`);
  }
}

export interface Api {
  /** @throws ApiError */
  query<Data, Variables>(
    document: TadaDocumentNode<Data, Variables>,
    variables: Variables,
  ): Promise<Data>;
  /** @throws ApiError, ConnectionLost */
  subscribe<Data, Variables>(
    document: TadaDocumentNode<Data, Variables>,
    variables: Variables,
  ): AsyncIterableIterator<Data>;
  close(): Promise<void>;
}

interface Answer<Data> {
  data?: Data | null;
  errors?: readonly { message: string; extensions?: { code?: unknown } }[];
}

export function createApi({ url, token }: ApiOptions): Api {
  const authorization = async (): Promise<Record<string, string>> => {
    const jwt = await token();
    return jwt === null ? {} : { authorization: `Bearer ${jwt}` };
  };
  // It does not retry by itself: it would subscribe anew from where it first began.
  const sockets = createClient({
    url: url.replace(/^http/, 'ws'),
    connectionParams: authorization,
    retryAttempts: 0,
  });

  return {
    async query(document, variables) {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/graphql-response+json',
          ...(await authorization()),
        },
        body: JSON.stringify({ query: print(document), variables }),
      });
      return dataOf(await response.json());
    },
    async *subscribe(document, variables) {
      const payload = { query: print(document), variables: variables as Record<string, unknown> };
      try {
        for await (const answer of sockets.iterate(payload)) yield dataOf(answer as Answer<never>);
      } catch (error) {
        // The client throws a refused document's errors, or the event of the socket's end.
        if (Array.isArray(error)) dataOf({ errors: error });
        throw error instanceof ApiError ? error : new ConnectionLost(closeCode(error));
      }
    },
    close: async () => await sockets.dispose(),
  };
}

function dataOf<Data>({ data, errors }: Answer<Data>): Data {
  const [first] = errors ?? [];
  if (first !== undefined) throw new ApiError(String(first.extensions?.code), first.message);
  return data as Data;
}

function closeCode(event: unknown): number {
  return (event as { code?: number }).code ?? 1006;
}
