import { signal } from '@preact/signals';
import type { Issue } from './types.ts';

/** A refusal of the API, in its words. `code` is stable; OFFLINE where nobody answered. */
export class ApiError extends Error {
  readonly code: string;
  readonly extensions: Record<string, unknown>;
  constructor(message: string, extensions: Record<string, unknown>) {
    super(message);
    this.code = String(extensions.code ?? 'UNKNOWN');
    this.extensions = extensions;
  }
  /** What is wrong, by the path in the input. */
  get issues(): Issue[] {
    return (this.extensions.issues as Issue[] | undefined) ?? [];
  }
}

const TOKEN = 'pulsegraph-token';

/** Set where the API wants a token, or another one: why. */
export const signInReason = signal<string | null>(null);

export const token = () => sessionStorage.getItem(TOKEN);

/** Starts the page anew as whom the token names; null forgets it. */
export function useToken(value: string | null): void {
  if (value === null) sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, value.trim().replace(/^Bearer +/i, ''));
  location.reload();
}

/** The header, and the same in the connectionParams of a WebSocket. */
export function authorization(): Record<string, string> {
  const value = token();
  return value === null ? {} : { authorization: `Bearer ${value}` };
}

/**
 * One operation over HTTP.
 *
 * @throws ApiError
 */
export async function request<T>(
  query: string,
  variables: Record<string, unknown> = {},
  signal?: AbortSignal,
): Promise<T> {
  let body: { data?: T; errors?: { message: string; extensions?: Record<string, unknown> }[] };
  try {
    const response = await fetch('/graphql', {
      method: 'POST',
      // As plain JSON a refusal is a 200: an input that is still being typed is no failed request.
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        ...authorization(),
      },
      body: JSON.stringify({ query, variables }),
      signal,
    });
    body = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError('the server does not answer', { code: 'OFFLINE' });
  }
  const [first] = body.errors ?? [];
  if (first !== undefined) {
    const error = new ApiError(first.message, first.extensions ?? {});
    if (error.code === 'UNAUTHENTICATED') signInReason.value = first.message;
    throw error;
  }
  return body.data as T;
}

/** For people: what a failed operation says. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
