/**
 * While nobody has to log in, only programs of this machine may ask, and of web pages only our own:
 * any other page in a browser here could call a loopback port too, or point a name of its own at it.
 */

const LOOPBACK_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

/** Why a request is refused, as a text for its sender; null for one that is welcome. */
export function foreignRequest(headers: Headers): string | null {
  const host = headers.get('host') ?? '';
  if (!LOOPBACK_HOST.test(host)) {
    return `Host ${JSON.stringify(host)} is not this machine: ask localhost or 127.0.0.1`;
  }
  const origin = headers.get('origin');
  if (origin !== null && !isOriginOf(origin, host)) {
    return `Origin ${JSON.stringify(origin)} is foreign: only pages served from http://${host} may ask`;
  }
  // Browsers leave out Origin on some requests of foreign pages, but then say this. Following a
  // link to GraphiQL is fine: the page that holds the link sees nothing of the answer.
  const site = headers.get('sec-fetch-site');
  const isForeign = site === 'cross-site' || site === 'same-site';
  if (isForeign && headers.get('sec-fetch-mode') !== 'navigate') {
    return `a page of another site may not ask: only pages served from http://${host} may`;
  }
  return null;
}

function isOriginOf(origin: string, host: string): boolean {
  const url = URL.canParse(origin) ? new URL(origin) : null;
  const own = new URL(`http://${host}`);
  return url !== null && /^https?:$/.test(url.protocol) && url.host === own.host;
}
