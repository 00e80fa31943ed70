/** Spans by OpenTelemetry, made by hand: loaded only where somebody collects them. */
import {
  type Attributes,
  type Context,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { AlertEvent } from './domain/alert.ts';
import type { LogMessage } from './domain/log.ts';
import { formatTraceparent, parseTraceparent } from './domain/trace-context.ts';
import type { Tracer } from './engine/tracer.ts';
import { createSparingLog } from './mqtt/sparing-log.ts';

export interface TracingOptions {
  /** Of the collector: spans go to its /v1/traces. */
  endpoint: string;
  /** Sent with each request. */
  headers: Record<string, string>;
  serviceName: string;
  /** Share of the messages that are followed, 0 to 1. */
  ratio: number;
  logger: Pick<Logger, 'warn'>;
}

export interface Tracing {
  tracer: Tracer;
  /** Sends what is left, within some seconds. */
  close(): Promise<void>;
}

const EXPORT_TIMEOUT_MS = 3_000;
const EXPORT_EVERY_MS = 1_000;
const LOG_EVERY_MS = 60_000;

/**
 * One trace for a message: `publish` ends when the log has it on disk, `store` goes from there to
 * the commit and holds the `transaction`, and each alert that it fires or resolves has a
 * `send alert` by MQTT and a `deliver alert` for each subscriber. The context travels in the log's
 * record and in the alert's row, so a trace goes through whichever processes do the work.
 */
export function startTracing(options: TracingOptions): Tracing {
  const { endpoint, headers, serviceName, ratio } = options;
  const logTrouble = createSparingLog<string>(LOG_EVERY_MS, (detail, leftOut) =>
    options.logger.warn({ detail, leftOut }, 'spans do not reach the collector'),
  );
  const quiet = () => {};
  const tell = (message: string) => logTrouble(message);
  diag.setLogger({ error: tell, warn: tell, info: quiet, debug: quiet, verbose: quiet });
  const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`;
  const exporter = new OTLPTraceExporter({ url, headers, timeoutMillis: EXPORT_TIMEOUT_MS });
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': serviceName }),
    // Past its bound of 2,048 spans it drops, and never holds anybody up.
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        scheduledDelayMillis: EXPORT_EVERY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
  const spans = provider.getTracer('pulsegraph');

  /** A span below the one that the record or row names; null where it names none. */
  function follow(
    traceparent: string | null,
    name: string,
    more: { kind: SpanKind; attributes: Attributes; startTime?: number },
  ): Span | null {
    const parent = parentOf(traceparent);
    return parent === null ? null : spans.startSpan(name, more, parent);
  }

  async function append(message: LogMessage, send: (message: LogMessage) => Promise<void>) {
    const attributes = {
      'messaging.destination.name': message.topic,
      'messaging.message.body.size': message.value.length,
    };
    const span = spans.startSpan('publish', { kind: SpanKind.PRODUCER, attributes }, ROOT_CONTEXT);
    const traceparent = formatTraceparent(span.spanContext());
    await during(span, () => send({ ...message, traceparent }));
  }

  const tracer: Tracer = {
    appender: (inner) => ({
      append: (message) =>
        Math.random() < ratio ? append(message, inner.append) : inner.append(message),
    }),
    stored(batch, partition) {
      const { fromMs, toMs } = batch.written ?? { fromMs: 0, toMs: 0 };
      for (const { offset, traceparent, takenMs } of batch.followed) {
        const position = { 'pulsegraph.partition': partition, 'pulsegraph.offset': offset };
        const about = { kind: SpanKind.CONSUMER, attributes: position, startTime: takenMs };
        const span = follow(traceparent, 'store', about);
        if (span === null) continue;
        const attributes = {
          'db.system.name': 'postgresql',
          'pulsegraph.batch.records': batch.records,
          'pulsegraph.batch.transitions': batch.transitions.length,
        };
        const inside = trace.setSpan(ROOT_CONTEXT, span);
        const kind = SpanKind.CLIENT;
        spans.startSpan('transaction', { kind, attributes, startTime: fromMs }, inside).end(toMs);
        span.end(toMs);
      }
    },
    async sending(event, topic, publish) {
      const attributes = { ...alertAttributes(event), 'messaging.destination.name': topic };
      const kind = SpanKind.PRODUCER;
      const span = follow(event.traceparent, 'send alert', { kind, attributes });
      await (span === null ? publish() : during(span, publish));
    },
    delivered(event) {
      const attributes = alertAttributes(event);
      follow(event.traceparent, 'deliver alert', { kind: SpanKind.PRODUCER, attributes })?.end();
    },
  };
  return {
    tracer,
    async close() {
      await provider.shutdown().catch((error: Error) => tell(error.message));
      diag.disable();
    },
  };
}

function parentOf(traceparent: string | null): Context | null {
  const found = traceparent === null ? null : parseTraceparent(traceparent);
  if (found === null) return null;
  const context = { ...found, traceFlags: TraceFlags.SAMPLED, isRemote: true };
  return trace.setSpanContext(ROOT_CONTEXT, context);
}

async function during(span: Span, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: (error as Error).message });
    throw error;
  } finally {
    span.end();
  }
}

function alertAttributes({ seq, alertId, type, ruleId }: AlertEvent): Attributes {
  return {
    'pulsegraph.alert.seq': seq,
    'pulsegraph.alert.id': alertId,
    'pulsegraph.alert.type': type,
    'pulsegraph.rule.id': ruleId,
  };
}
