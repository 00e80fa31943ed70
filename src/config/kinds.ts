/** The kinds of values that settings have: each reads the text of an environment variable. */
import { readFileSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { resolve } from 'node:path';
import { z } from 'zod';
import { parseDuration } from '../domain/duration.ts';
import { MICROS_PER_MS } from '../domain/time.ts';

export interface Kind<T> {
  /** As the documentation names it. */
  label: string;
  /** Reads the text; its one issue goes on from the value: `is not a port; write ...`. */
  schema: z.ZodType<T, string>;
  /** A fault shows the value only without its secrets. */
  isUrl?: boolean;
  /** A fault shows nothing of the value. */
  isSecret?: boolean;
}

/** `parse` gives null for a text that is not `what`; `fix` says what to write instead. */
export function kind<T>(
  label: string,
  what: string,
  fix: string,
  parse: (text: string) => T | null,
) {
  const schema = z.string().transform((text, context) => {
    const value = parse(text);
    if (value !== null) return value;
    context.addIssue({ code: 'custom', message: `is not ${what}; ${fix}` });
    return z.NEVER;
  });
  return { label, schema } satisfies Kind<T>;
}

export const text = (label: string, pattern: RegExp, fix: string): Kind<string> =>
  kind(label, `a ${label}`, fix, (value) => (pattern.test(value) ? value : null));

export function integer(min: number, max: number): Kind<number> {
  const what = 'a whole number in range';
  return kind(`integer, ${min} to ${max}`, what, `write one from ${min} to ${max}`, (value) =>
    within(value, min, max),
  );
}

function within(value: string, min: number, max: number): number | null {
  const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
  return number >= min && number <= max ? number : null;
}

const SERVICE_LINK = /^tcp:\/\//;

export const port: Kind<number> = {
  label: 'port, 0 = any free one',
  schema: z.string().transform((value, context) => {
    const number = within(value, 0, 65_535);
    if (number !== null) return number;
    // Kubernetes writes POSTGRES_PORT=tcp://10.0.0.7:5432 for a service that is named postgres.
    const cause = SERVICE_LINK.test(value)
      ? ' (Kubernetes sets it for a service of that name: turn enableServiceLinks off)'
      : '';
    const message = `is not a port; write a number from 0 to 65535${cause}`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  }),
};

/** Whether only programs of this machine can reach a server that listens there. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

export const address: Kind<string> = kind(
  'address',
  'an address to listen on',
  'write 127.0.0.1, ::1, localhost, or 0.0.0.0 for every interface',
  (value) => (value === 'localhost' || isIP(value) ? value : null),
);

/** At least as long as the hash of HS256, as RFC 7518 asks. */
export const secret: Kind<string> = {
  ...kind(
    'secret',
    'a secret of 32 characters or more',
    '`openssl rand -hex 32` makes one',
    (value) => (value.length >= 32 ? value : null),
  ),
  isSecret: true,
};

export function oneOf<const T extends string>(...values: T[]): Kind<T> {
  const list = values.join(', ');
  return kind(list, 'one of these', `write ${list}`, (value) =>
    values.includes(value as T) ? (value as T) : null,
  );
}

export function folder(): Kind<string> {
  const fix = 'write the whole path, as only a shell expands ~';
  return kind('folder', 'a folder', fix, (value) =>
    value.startsWith('~') ? null : resolve(value),
  );
}

export const filePath: Kind<string> = kind(
  'file',
  'the path of a file',
  'write the whole path, as only a shell expands ~',
  (value) => (value.startsWith('~') ? null : value),
);

/** The text of a file with certificates or a key. */
export const pemFile: Kind<string> = kind(
  'PEM file',
  'a file of PEM text that can be read',
  'write the path of one',
  (value) => {
    try {
      const content = readFileSync(value, 'utf8');
      return content.includes('-----BEGIN ') ? content : null;
    } catch {
      return null;
    }
  },
);

/** A URL of one of these schemes that names a host. Several hosts are the driver's to read. */
export function url(schemes: string[], example: string): Kind<string> {
  const pattern = new RegExp(`^(?:${schemes.join('|')})://(?:[^/?#]*@)?[^/?#@]+(?:[/?#]|$)`);
  const what = `a URL with a host, beginning with ${schemes.map((s) => `${s}://`).join(' or ')}`;
  const parse = (value: string) => (pattern.test(value) ? value : null);
  return { ...kind('URL', what, `write ${example}`, parse), isUrl: true };
}

/** A JSON file of GraphQL documents by their ids, as codegen and Relay write it. */
export const documentsFile: Kind<Record<string, string>> = kind(
  'JSON file',
  'a JSON file {"id": "document", ...} that can be read',
  'write the path of one',
  (value) => {
    try {
      const content: unknown = JSON.parse(readFileSync(value, 'utf8'));
      return z.record(z.string(), z.string()).safeParse(content).data ?? null;
    } catch {
      return null;
    }
  },
);

/** A whole URL of the web. */
export const webUrl: Kind<string> = {
  ...kind(
    'URL',
    'a URL that begins with https:// or http://',
    'write https://host/path',
    (value) => (/^https?:$/.test(URL.parse(value)?.protocol ?? '') ? value : null),
  ),
  isUrl: true,
};

/** Origins of web pages with commas between, or `*` for any. */
export const origins: Kind<'*' | string[]> = kind(
  'origin list, or *',
  'a list of origins',
  'write https://app.example.org,http://localhost:5173 without paths',
  (value) => {
    if (value === '*') return value;
    const list = value.split(',').map((one) => one.trim());
    const isOrigin = (one: string) => /^https?:/.test(one) && URL.parse(one)?.origin === one;
    return list.every(isOrigin) ? list : null;
  },
);

/** `host:port`, with commas between several. */
export const brokers: Kind<string[]> = {
  label: 'host:port list',
  isUrl: true,
  schema: z.string().transform((value, context) => {
    const list = value.split(',').map((one) => one.trim());
    const fault = list.map((one) => brokerFault(one)).find((found) => found !== null);
    if (fault === undefined) return list;
    const fix = list.length > 1 ? 'write host:port,host:port' : 'write host:port';
    context.addIssue({ code: 'custom', message: `${fault}; ${fix}` });
    return z.NEVER;
  }),
};

function brokerFault(broker: string): string | null {
  if (broker.includes('://')) return 'is no URL, but a list of brokers';
  if (broker.includes('@')) return 'holds a login, which KAFKA_SASL_USERNAME and its like take';
  const [, host, port] = /^([^\s:[\]]+)(?::(\d+))?$/.exec(broker) ?? [];
  if (host === undefined) return `is not a list of brokers (${JSON.stringify(broker)})`;
  if (port === undefined) return 'has no port';
  return within(port, 1, 65_535) === null ? `has a port out of range (${port})` : null;
}

const SIZE = /^(\d{1,15})\s?(KiB|MiB|GiB|TiB)?$/i;
const SIZE_UNITS: Record<string, number> = {
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** Bytes, from `min` to `max`. */
export function size(min: number, max: number): Kind<number> {
  const range = `${formatSize(min)} to ${formatSize(max)}`;
  return kind(
    `size, ${range}`,
    `a size from ${range}`,
    'write bytes, or such as 512MiB',
    (value) => {
      const match = SIZE.exec(value);
      if (!match) return null;
      const bytes = Number(match[1]) * (SIZE_UNITS[match[2]?.toLowerCase() ?? ''] ?? 1);
      return bytes >= min && bytes <= max ? bytes : null;
    },
  );
}

function formatSize(bytes: number): string {
  for (const [unit, factor] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}

/** Milliseconds of `PT1M30S`, `90s` or `500ms`; null for any other text, months and years too. */
function parseDurationMs(value: string): number | null {
  const duration = parseDuration(value);
  if (duration === null || duration.months > 0) return null;
  return duration.days * 86_400_000 + Math.round(duration.micros / MICROS_PER_MS);
}

/** Milliseconds, between two durations that are themselves written as a user would. */
export function duration(min: string, max: string): Kind<number> {
  const minMs = parseDurationMs(min) ?? 0;
  const maxMs = parseDurationMs(max) ?? 0;
  const what = `a duration from ${min} to ${max}`;
  return kind(`duration, ${min} to ${max}`, what, 'write such as 90s, 5m or PT5M', (value) => {
    const ms = parseDurationMs(value);
    return ms !== null && ms >= minMs && ms <= maxMs ? ms : null;
  });
}
