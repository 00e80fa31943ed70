import type { LogRecord } from '../domain/log.ts';
import type { RuleSet } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import type { Batch } from './batch.ts';
import type { Decode, Decoded } from './decode.ts';
import { addRecord } from './evaluate.ts';
import type { KnownStates } from './known-states.ts';
import type { Position } from './position.ts';
import type { Refusals } from './refusals.ts';

/** Decodes and evaluates records into a batch, on the states that the one in flight leaves behind. */
export type Take = (
  records: readonly LogRecord[],
  batch: Batch,
  inFlight: Batch | undefined,
) => Promise<void>;

export function createTake(
  deps: {
    decode: Decode;
    rulesFor: (userIds: Set<string>) => Promise<ReadonlyMap<string, RuleSet>>;
    states: Pick<KnownStates, 'before'>;
    refusals: Pick<Refusals, 'detailOf'>;
    position: Pick<Position, 'watermark'>;
  },
  options: { partition: number; maxClockSkew: Micros },
): Take {
  function decodeOne(record: LogRecord): Decoded {
    const decoded = deps.decode(record);
    const detail = deps.refusals.detailOf(record.offset);
    if (detail === undefined || !decoded.ok) return decoded;
    const rejection = { reason: 'REFUSED_BY_DATABASE', detail } as const;
    return { ok: false, topic: decoded.topic, rejection };
  }

  return async (records, batch, inFlight) => {
    const decoded = records.map(decodeOne);
    const userIds = new Set<string>();
    for (const one of decoded) if (one.ok) userIds.add(one.reading.userId);
    const rules = await deps.rulesFor(userIds);
    const known = await deps.states.before(decoded, [batch, inFlight]);
    const { offset: watermark, coveredAt: committedAt } = deps.position.watermark;
    const coveredAt = Math.max(committedAt, inFlight?.coveredAt ?? 0);
    const stateOf = (key: string) => known.get(key);
    const context = { ...options, watermark, coveredAt, stateOf, rules };
    if (batch.records === 0) batch.openedAtMs = performance.now();
    for (const [index, record] of records.entries()) {
      const transitionsBefore = batch.transitions.length;
      addRecord(batch, record, decoded[index] as Decoded, context);
      if (record.traceparent) follow(batch, record, transitionsBefore);
    }
  };
}

/** The transitions that the record brought about take its trace context to whoever sends them. */
function follow(batch: Batch, { offset, traceparent }: LogRecord, transitionsBefore: number): void {
  batch.followed.push({ offset, traceparent: traceparent as string, takenMs: performance.now() });
  for (const transition of batch.transitions.slice(transitionsBefore)) {
    transition.traceparent = traceparent as string;
  }
}
