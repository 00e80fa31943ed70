/** A collector of traces: takes OTLP over HTTP in JSON. */
export interface Collector {
  url: string;
  spans: ReceivedSpan[];
  /** Names of the services that sent them. */
  services: Set<string>;
  /** Of each request. */
  headers: Headers[];
  /** The spans of the trace that has a span of this name, once it has `count`. */
  traceOf(name: string, count: number): ReceivedSpan[] | null;
  close(): Promise<void>;
}

export interface ReceivedSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  service: string;
}

export function startCollector(): Collector {
  const spans: ReceivedSpan[] = [];
  const services = new Set<string>();
  const headers: Headers[] = [];
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    async fetch(request) {
      if (new URL(request.url).pathname !== '/v1/traces')
        return new Response(null, { status: 404 });
      headers.push(request.headers);
      const { resourceSpans } = JSON.parse(await request.text());
      for (const { resource, scopeSpans } of resourceSpans) {
        const service = attributesOf(resource)['service.name'] as string;
        services.add(service);
        for (const scope of scopeSpans) {
          spans.push(...scope.spans.map((span: object) => ({ ...span, service })));
        }
      }
      return Response.json({});
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    spans,
    services,
    headers,
    traceOf(name, count) {
      const one = spans.find((span) => span.name === name);
      const trace = spans.filter(({ traceId }) => traceId === one?.traceId);
      return trace.length === count ? trace : null;
    },
    close: () => server.stop(true),
  };
}

export function attributesOf({
  attributes,
}: Pick<ReceivedSpan, 'attributes'>): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
