import { UnreachableError } from './unreachable.ts';

/** A refusal by the server; `code` is its extensions.code, HTTP_<status> or NETWORK. */
export class ApiError extends Error {
  readonly code: string;
  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

export type Variables = Record<string, unknown>;

/** GraphQL over HTTP. */
export interface Api {
  /** Throws ApiError; the first error of the answer is the one that counts. */
  query<T>(document: string, variables?: Variables): Promise<T>;
}

const REQUEST_TIMEOUT_MS = 30_000;
const ATTEMPTS = 5;
const RETRY_WAIT_MS = 500;

export function createApi({ url }: { url: string }): Api {
  async function once<T>(document: string, variables: Variables): Promise<T> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ query: document, variables }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    }).catch((error: unknown) => {
      throw new ApiError(`${url}: ${messageOf(error)}`, 'NETWORK');
    });
    const answer = (await response.json().catch(() => null)) as Answer<T> | null;
    const fault = answer?.errors?.[0];
    if (fault !== undefined) {
      throw new ApiError(`${url}: ${fault.message}`, fault.extensions?.code ?? 'UNKNOWN');
    }
    if (!answer?.data) {
      throw new ApiError(`${url}: HTTP ${response.status}, no GraphQL`, `HTTP_${response.status}`);
    }
    return answer.data;
  }

  return {
    async query<T>(document: string, variables: Variables = {}): Promise<T> {
      for (let attempt = 1; ; attempt++) {
        try {
          return await once<T>(document, variables);
        } catch (error) {
          const passing = error instanceof ApiError && TRANSIENT.has(error.code);
          if (!passing || attempt === ATTEMPTS) throw error;
        }
        await Bun.sleep(RETRY_WAIT_MS * attempt);
      }
    },
  };
}

const TRANSIENT = new Set(['NETWORK', 'UNAVAILABLE', 'HTTP_502', 'HTTP_503', 'HTTP_504']);

interface Answer<T> {
  data?: T | null;
  errors?: { message: string; extensions?: { code?: string } }[];
}

/** Throws UnreachableError unless a GraphQL server answers at `url`. */
export async function checkReachable({ url }: { url: string }): Promise<void> {
  const signal = AbortSignal.timeout(10_000);
  const body = JSON.stringify({ query: '{ __typename }' });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(url, { method: 'POST', headers, body, signal }).then(
    async (response) => ({ status: response.status, text: await response.text() }),
    (error: unknown) => {
      throw new UnreachableError(
        `--url ${url}: ${messageOf(error)} Start the process first, or name its address.`,
      );
    },
  );
  if (!answer.text.includes('"__typename"')) {
    throw new UnreachableError(
      `--url ${url}: HTTP ${answer.status} and no GraphQL answer; the path is usually /graphql`,
    );
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export interface Connection<Node> {
  edges: { node: Node }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

const SMALLEST_PAGE = 50;

/**
 * All nodes of a connection, page by page. The page shrinks where the server says that one is too
 * much to ask for. `load` gives null where the list's owner doesn't exist: an empty list.
 */
export async function allPages<Node>(
  firstPage: number,
  load: (first: number, after: string | null) => Promise<Connection<Node> | null>,
): Promise<Node[]> {
  const nodes: Node[] = [];
  let first = firstPage;
  let after: string | null = null;
  for (;;) {
    let page: Connection<Node> | null;
    try {
      page = await load(first, after);
    } catch (error) {
      const tooMuch =
        error instanceof ApiError &&
        (error.code === 'TOO_EXPENSIVE' || error.code === 'BAD_USER_INPUT');
      if (!tooMuch || first <= SMALLEST_PAGE) throw error;
      first = Math.max(SMALLEST_PAGE, Math.floor(first / 2));
      continue;
    }
    if (page === null) return nodes;
    for (const edge of page.edges) nodes.push(edge.node);
    if (!page.pageInfo.hasNextPage || page.edges.length === 0) return nodes;
    after = page.pageInfo.endCursor;
  }
}

/**
 * Runs `work` for every item, at most `atOnce` at a time; results in the order of the items. The
 * first error ends it: nothing new is begun.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      try {
        results[index] = await work(items[index] as T);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return results;
}
