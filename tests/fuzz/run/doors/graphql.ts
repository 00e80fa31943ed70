import fc from 'fast-check';
import { damaged, rawBytes, utf8 } from '../bytes.ts';
import { requests } from '../documents.ts';
import { type Fuzz, within } from '../fuzz.ts';
import type { FuzzStage } from '../stage.ts';

/** As much of an event stream as is looked at. */
const STREAM_MS = 60;

type Caller = 'user' | 'device' | 'operator' | 'expired' | 'damaged' | 'nobody';

interface Input {
  caller: Caller;
  method: 'POST' | 'GET';
  accept: string;
  body: Uint8Array;
  damage: Uint8Array;
}

/** @throws where an answer is an unexpected error */
export function judge(what: string, status: number, text: string): void {
  const isUnexpected = status >= 500 && status !== 503;
  if (isUnexpected || text.includes('INTERNAL_SERVER_ERROR')) {
    throw new Error(`${what}: ${status} ${text.slice(0, 1_000)}`);
  }
}

/** Operations over HTTP, of a user, a device, an operator and nobody. */
export function fuzzGraphql(stage: FuzzStage): Fuzz {
  const texts = requests(stage.alertId);
  const body = fc.oneof(
    { arbitrary: texts.map(utf8), weight: 12 },
    { arbitrary: damaged(texts.map(utf8)), weight: 2 },
    { arbitrary: rawBytes, weight: 1 },
  );
  const input: fc.Arbitrary<Input> = fc.record({
    caller: fc.oneof(
      { arbitrary: fc.constant('user' as const), weight: 8 },
      { arbitrary: fc.constantFrom('device' as const, 'operator' as const), weight: 4 },
      {
        arbitrary: fc.constantFrom('expired' as const, 'damaged' as const, 'nobody' as const),
        weight: 1,
      },
    ),
    method: fc.constantFrom('POST', 'POST', 'POST', 'GET'),
    accept: fc.constantFrom(
      ...['application/json', 'application/graphql-response+json', 'text/event-stream', '*/*'],
    ),
    body,
    damage: fc.uint8Array({ minLength: 1, maxLength: 3 }),
  });

  async function run(given: Input): Promise<void> {
    const { caller, method, accept, body: bytes } = given;
    const text = Buffer.from(bytes).toString();
    // What an operator changes is theirs to change; it would only fill the tables.
    if (caller === 'operator' && text.includes('mutation')) return;
    const url = new URL(stage.graphqlUrl);
    if (method === 'GET') url.search = search(text);
    const authorization = authorizationOf(given, stage.tokens);
    const cancel = new AbortController();
    const response = await fetch(url, {
      method,
      headers: {
        'content-type': 'application/json',
        accept,
        ...(authorization && { authorization }),
      },
      body: method === 'GET' ? undefined : Buffer.from(bytes),
      signal: cancel.signal,
    });
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream');
    const answer = isStream ? await beginning(response) : await response.text();
    if (isStream) cancel.abort();
    judge('GraphQL', response.status, answer);
    if (caller !== 'operator') stage.scan('GraphQL', answer);
  }

  return {
    name: 'operations over HTTP',
    door: 'graphql',
    isSocket: true,
    share: 28,
    runsInBatch: 40,
    property: (count) =>
      fc.asyncProperty(fc.array(input, { minLength: 1, maxLength: 16 }), async (inputs) => {
        count(inputs.length);
        await within('GraphQL', Promise.all(inputs.map(run)));
        return true;
      }),
  };
}

function authorizationOf({ caller, damage }: Input, tokens: FuzzStage['tokens']): string | null {
  if (caller === 'nobody') return null;
  if (caller !== 'damaged') return `Bearer ${tokens[caller]}`;
  const [header, , signature] = tokens.user.split('.');
  const claims = Buffer.from(JSON.stringify({ sub: 'victim' })).toString('base64url');
  const other = Buffer.from(damage).toString('base64url');
  return `Bearer ${header}.${claims}.${other}${signature?.slice(other.length)}`;
}

/** The fields of a body as a query string; a body that is no JSON as its own. */
function search(text: string): string {
  try {
    const fields = Object.entries(JSON.parse(text) ?? {}).slice(0, 5);
    const params = fields.map(([name, value]) => [
      name.toWellFormed(),
      (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, 4_000).toWellFormed(),
    ]);
    return new URLSearchParams(params as [string, string][]).toString();
  } catch {
    return encodeURIComponent(text.slice(0, 1_000).toWellFormed());
  }
}

async function beginning(response: Response): Promise<string> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  const deadline = Bun.sleep(STREAM_MS).then(() => ({ done: true as const, value: undefined }));
  for (;;) {
    const { done, value } = await Promise.race([reader.read(), deadline]);
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  return text;
}
