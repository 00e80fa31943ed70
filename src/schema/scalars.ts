import { GraphQLError, GraphQLScalarType, Kind, type ValueNode } from 'graphql';
import { GraphQLJSON, GraphQLSafeInt } from 'graphql-scalars';
import { type Duration, formatDuration, parseDuration } from '../domain/duration.ts';
import { formatMicros, type Micros, parseRfc3339 } from '../domain/time.ts';
import { type Zone, zone } from '../domain/zone.ts';
import type { Builder } from './builder.ts';

export function defineScalars(builder: Builder): void {
  builder.addScalarType('JSON', GraphQLJSON);
  builder.addScalarType('SafeInt', GraphQLSafeInt);
  builder.addScalarType('DateTime', DateTime);
  builder.addScalarType('Duration', DurationScalar);
  builder.addScalarType('TimeZone', TimeZone);
}

/** Years that RFC 3339 can write. */
const MIN_TIME = -62_135_596_800_000_000;
const END_OF_TIME = 253_402_300_800_000_000;

const DateTime = new GraphQLScalarType<Micros, string>({
  name: 'DateTime',
  description:
    'RFC 3339, `2026-01-31T12:00:00.123456Z`. In UTC on the way out, with 3 to 6 fraction digits.',
  serialize: (value) => formatMicros(value as Micros),
  parseValue: (value) => parsedTime(value),
  parseLiteral: (node) => parsedTime(textOf(node, 'DateTime'), node),
});

function parsedTime(value: unknown, node?: ValueNode): Micros {
  const micros = typeof value === 'string' ? parseRfc3339(value) : null;
  if (micros === null || micros < MIN_TIME || micros >= END_OF_TIME) {
    throw refusal(value, 'a time; write RFC 3339 with a zone, as 2026-01-31T12:00:00Z', node);
  }
  return micros;
}

const DurationScalar = new GraphQLScalarType<Duration, string>({
  name: 'Duration',
  description:
    'ISO 8601 (`PT1M`, `P1D`, `P1M`), or short (`90s`, `1m`, `6h`, `1d`, `1w`, `1mo`) on the way ' +
    'in. Days, weeks and months are those of the calendar.',
  serialize: (value) => formatDuration(value as Duration),
  parseValue: (value) => parsedDuration(value),
  parseLiteral: (node) => parsedDuration(textOf(node, 'Duration'), node),
});

function parsedDuration(value: unknown, node?: ValueNode): Duration {
  const duration = typeof value === 'string' ? parseDuration(value) : null;
  if (duration === null) {
    throw refusal(value, 'a duration; write PT1M or P1D, or short: 90s, 1m, 6h, 1d, 1w, 1mo', node);
  }
  return duration;
}

const TimeZone = new GraphQLScalarType<Zone, string>({
  name: 'TimeZone',
  description: 'IANA name of a timezone: `Europe/Berlin`.',
  serialize: (value) => (value as Zone).name,
  parseValue: (value) => parsedZone(value),
  parseLiteral: (node) => parsedZone(textOf(node, 'TimeZone'), node),
});

function parsedZone(value: unknown, node?: ValueNode): Zone {
  const found = typeof value === 'string' ? zone(value) : null;
  if (found === null) {
    throw refusal(value, 'a timezone; write an IANA name such as Europe/Berlin', node);
  }
  return found;
}

function textOf(node: ValueNode, type: string): string {
  if (node.kind === Kind.STRING) return node.value;
  throw new GraphQLError(`${type} is written as text in quotes`, { nodes: node });
}

/** @param node where it stands in the document, if it does */
function refusal(value: unknown, what: string, node?: ValueNode): GraphQLError {
  return new GraphQLError(`${JSON.stringify(value)?.slice(0, 100)} is not ${what}`, {
    nodes: node,
  });
}
