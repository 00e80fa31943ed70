/**
 * While nobody has to log in, only programs of this machine may ask, and of web pages only our own
 * and the allowed: any other page in a browser here could call a loopback port too, or point a name
 * of its own at it. With tokens a page is asked for one, which no browser adds by itself.
 */
export interface DoorRules {
  hasTokens: boolean;
  /** Of web pages besides our own. */
  origins: '*' | readonly string[];
}

const LOOPBACK_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

/** Why a request is refused, as a text for its sender; null for one that is welcome. */
export function foreignRequest(headers: Headers, { hasTokens, origins }: DoorRules): string | null {
  const host = headers.get('host') ?? '';
  if (!hasTokens && !LOOPBACK_HOST.test(host)) {
    return `Host ${JSON.stringify(host)} is not this machine: ask localhost or 127.0.0.1`;
  }
  if (origins === '*') return null;
  const origin = headers.get('origin');
  const welcome = `only pages served from http://${host}, and those of ALLOWED_ORIGINS, may ask`;
  if (origin !== null && origins.includes(origin)) return null;
  if (origin !== null && !isOriginOf(origin, host)) {
    return `Origin ${JSON.stringify(origin)} is foreign: ${welcome}`;
  }
  if (hasTokens) return null;
  // Browsers leave out Origin on some requests of foreign pages, but then say this. Following a
  // link to GraphiQL is fine: the page that holds the link sees nothing of the answer.
  const site = headers.get('sec-fetch-site');
  const isForeign = site === 'cross-site' || site === 'same-site';
  if (isForeign && headers.get('sec-fetch-mode') !== 'navigate') {
    return `a page of another site may not ask: ${welcome}`;
  }
  return null;
}

function isOriginOf(origin: string, host: string): boolean {
  const url = URL.parse(origin);
  const own = URL.parse(`http://${host}`);
  return url !== null && own !== null && /^https?:$/.test(url.protocol) && url.host === own.host;
}
