/** The settings of traces, under the names that OpenTelemetry gives them. */
import type { Config } from '../config.ts';
import type { TracingOptions } from '../tracing.ts';
import { type Kind, kind, text, webUrl } from './kinds.ts';
import { setting } from './setting.ts';

const share: Kind<number> = kind(
  'share, 0 to 1',
  'a share',
  'write a number from 0 to 1',
  (value) => (/^(?:0|1|0?\.\d+|1\.0*|0\.0*)$/.test(value) ? Number(value) : null),
);

/** Headers of HTTP, as OpenTelemetry writes them: `name=value,name=value`, percent-encoded. */
const headerList: Kind<Record<string, string>> = {
  ...kind('headers', 'a list of headers', 'write name=value, with commas between', (list) => {
    const headers: Record<string, string> = {};
    for (const entry of list.split(',')) {
      const [, name, value] =
        /^\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*([\x20-\x7e]*?)\s*$/.exec(entry) ?? [];
      if (name === undefined || value === undefined) return null;
      headers[name] = decoded(value);
    }
    return headers;
  }),
  isSecret: true,
};

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const TRACING_SETTINGS = {
  otlpEndpoint: setting(
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    webUrl,
    null,
    'Collector that gets traces by OTLP over HTTP, in JSON: `http://host:4318`. Unset: none are made.',
  ),
  otlpHeaders: setting(
    'OTEL_EXPORTER_OTLP_HEADERS',
    headerList,
    null,
    'Headers for it, `name=value` with commas between.',
  ),
  otlpServiceName: setting(
    'OTEL_SERVICE_NAME',
    text('name', /^.{1,200}$/, 'write up to 200 characters'),
    'pulsegraph',
    'Name of the service in traces.',
  ),
  otlpRatio: setting(
    'OTEL_TRACES_SAMPLER_ARG',
    share,
    '0.01',
    'Share of the messages that are followed from publish to alert; 1 is all of them.',
  ),
} as const;

/** Null where nobody collects traces. */
export function tracingSettings(config: Config): Omit<TracingOptions, 'logger'> | null {
  if (config.otlpEndpoint === null) return null;
  return {
    endpoint: config.otlpEndpoint,
    headers: config.otlpHeaders ?? {},
    serviceName: config.otlpServiceName,
    ratio: config.otlpRatio,
  };
}
