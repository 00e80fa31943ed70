import { join } from 'node:path';
import type { Model } from '../domain/model.ts';

/** Answers what belongs to the dashboard; null for any other path. */
export type Dashboard = (request: Request, pathname: string) => Promise<Response | null>;

interface File {
  type: string;
  plain: Uint8Array<ArrayBuffer>;
  gzip: Uint8Array<ArrayBuffer>;
  etag: string;
}

/** No script and no style but our own files, no talk but with this server, in nobody's frame. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');
const ASSETS = '/assets/';
const YEAR_SECONDS = 31_536_000;

/**
 * The dashboard as files in memory. They are bundled when somebody first opens it (some 0.2 s), so
 * that neither the start nor the user has a build step.
 */
export function createDashboard({ model }: { model: Model }): Dashboard {
  let files: Promise<Map<string, File>> | null = null;

  return async (request, pathname) => {
    if (pathname !== '/' && !pathname.startsWith(ASSETS)) return null;
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'GET, or HEAD');
    // What failed once is tried again at the next request.
    files ??= bundle(model).catch((error) => {
      files = null;
      throw error;
    });
    const file = (await files).get(pathname);
    return file === undefined ? text(404, 'not here') : answer(request, file, pathname === '/');
  };
}

/** @throws AggregateError where the sources do not compile */
async function bundle(model: Model): Promise<Map<string, File>> {
  const { outputs } = await Bun.build({
    entrypoints: [join(import.meta.dir, 'index.html')],
    minify: true,
    publicPath: '/',
    naming: {
      entry: '[name].[ext]',
      chunk: 'assets/[name]-[hash].[ext]',
      asset: 'assets/[name]-[hash].[ext]',
    },
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  const files = new Map<string, File>();
  for (const output of outputs) {
    const isPage = output.path.endsWith('index.html');
    const content = isPage
      ? withModel(await output.text(), model)
      : new Uint8Array(await output.arrayBuffer());
    const path = isPage ? '/' : `/${output.path.replace(/^\.?\//, '')}`;
    files.set(path, fileOf(content, output.type));
  }
  return files;
}

/** The page knows the model's columns without the schema, which may be kept from strangers. */
function withModel(page: string, model: Model): string {
  const { columns, shorthands, topic, owner, device, sequence } = model;
  const json = JSON.stringify({ columns, shorthands, topic, owner, device, sequence });
  const escaped = json.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
  const filled = page.replace(/(<meta name="stream-model" content=)""/, `$1"${escaped}"`);
  if (filled === page) throw new Error('src/web/index.html has no <meta name="stream-model">');
  return filled;
}

function fileOf(content: string | Uint8Array, type: string): File {
  const plain = new Uint8Array(typeof content === 'string' ? Buffer.from(content) : content);
  const gzip = new Uint8Array(Bun.gzipSync(plain, { level: 9 }));
  return { type, plain, gzip, etag: `"${Bun.hash(plain).toString(36)}"` };
}

function answer(request: Request, { type, plain, gzip, etag }: File, isPage: boolean): Response {
  const headers = new Headers({
    etag,
    'content-type': type,
    'cache-control': isPage ? 'no-cache' : `public, max-age=${YEAR_SECONDS}, immutable`,
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    vary: 'accept-encoding',
  });
  if (request.headers.get('if-none-match') === etag)
    return new Response(null, { status: 304, headers });
  const isZipped = /\bgzip\b/.test(request.headers.get('accept-encoding') ?? '');
  if (isZipped) headers.set('content-encoding', 'gzip');
  return new Response(isZipped ? gzip : plain, { headers });
}

function text(status: number, body: string): Response {
  const headers = { 'content-type': 'text/plain; charset=utf-8' };
  return new Response(`${body}\n`, { status, headers });
}
