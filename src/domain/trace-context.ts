/** W3C trace context, as records of the log carry it in their `traceparent` header. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  traceId: string;
  /** 16 hexadecimal digits. */
  spanId: string;
}

const SAMPLED = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f][13579bdf]$/;

/** Null for what is none, and for one that nobody samples. */
export function parseTraceparent(text: string): TraceContext | null {
  const [, traceId, spanId] = SAMPLED.exec(text) ?? [];
  return traceId === undefined || spanId === undefined ? null : { traceId, spanId };
}

/** Of a sampled one. */
export function formatTraceparent({ traceId, spanId }: TraceContext): string {
  return `00-${traceId}-${spanId}-01`;
}
