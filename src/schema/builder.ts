import SchemaBuilder from '@pothos/core';
import ComplexityPlugin from '@pothos/plugin-complexity';
import type { AlertEvent, AlertEventType, AlertStatus, ResolveReason } from '../domain/alert.ts';
import type { Duration } from '../domain/duration.ts';
import type { GeoPoint } from '../domain/point.ts';
import type { Reading } from '../domain/reading.ts';
import type { Clear, Issue, Operator, Severity } from '../domain/rule.ts';
import type { Fill, TelemetryPoint } from '../domain/telemetry-fill.ts';
import type { Micros } from '../domain/time.ts';
import type { Zone } from '../domain/zone.ts';
import type { PartitionStatus } from '../engine/ingest-watch.ts';
import type { ReplayResult } from '../engine/replay-dead-letters.ts';
import type { LaneState, LaneStatus } from '../engine/status.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import type { DeadLetterCount } from '../store/count-dead-letters.ts';
import type { DeadLetterRow } from '../store/dead-letters-page.ts';
import type { RuleChange } from '../store/rule-changes-page.ts';
import type { PageInfo } from './connection.ts';
import type { Context } from './context.ts';
import type { DeviceSource } from './device.ts';
import { apiError } from './errors.ts';
import type { IngestStatus } from './ingest.ts';
import type { RuleInSet, RuleKind } from './rule.ts';
import type { ClearInput, RuleInput } from './rule-input.ts';
import type { UserRuleSet } from './rule-set.ts';
import type { TelemetrySeries } from './telemetry-series.ts';
import type { User } from './user.ts';

/** Leaves whose value is the same in TypeScript on both ways. */
interface Leaf<T> {
  Input: T;
  Output: T;
}

export interface SchemaTypes {
  Context: Context;
  DefaultFieldNullability: false;
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: Leaf<Micros>;
    Duration: Leaf<Duration>;
    TimeZone: Leaf<Zone>;
    JSON: { Input: NonNullable<unknown>; Output: unknown };
    SafeInt: Leaf<number>;
    // Enums are named here too, so that fields can name them by text as they do objects.
    Operator: Leaf<Operator>;
    Severity: Leaf<Severity>;
    AlertStatus: Leaf<AlertStatus>;
    AlertEventType: Leaf<AlertEventType>;
    ResolveReason: Leaf<ResolveReason>;
    RuleKind: Leaf<RuleKind>;
    Fill: Leaf<Fill>;
    Order: Leaf<'ASC' | 'DESC'>;
    LaneState: Leaf<LaneState>;
  };
  Objects: {
    User: User;
    Device: DeviceSource;
    Reading: Reading;
    Point: GeoPoint;
    TelemetrySeries: TelemetrySeries;
    TelemetryPoint: TelemetryPoint;
    RuleSet: UserRuleSet;
    RuleChange: RuleChange;
    Rule: RuleInSet;
    Clear: Clear;
    Issue: Issue;
    Alert: AlertRow;
    AlertEvidence: AlertRow;
    AlertEvent: AlertEvent;
    AlertCount: { severity: Severity; count: number };
    IngestStatus: IngestStatus;
    IngestCounters: IngestStatus['counters'];
    Lane: LaneStatus;
    IngestPartition: PartitionStatus;
    DeadLetter: DeadLetterRow;
    DeadLetterCount: DeadLetterCount;
    ReplayResult: ReplayResult;
    PageInfo: PageInfo;
  };
  Inputs: {
    RuleInput: RuleInput;
    ClearInput: ClearInput;
  };
}

export type Builder = ReturnType<typeof createBuilder>;

/** Sized for the largest page of the deepest sensible query; a dashboard's needs a tenth of it. */
const LIMITS = { complexity: 60_000, depth: 16, breadth: 400 };

export function createBuilder() {
  return new SchemaBuilder<SchemaTypes>({
    plugins: [ComplexityPlugin],
    defaultFieldNullability: false,
    complexity: {
      limit: LIMITS,
      complexityError: (kind, result) => {
        const name = kind.toLowerCase() as 'complexity' | 'depth' | 'breadth';
        return apiError(
          'TOO_EXPENSIVE',
          `the ${name} of this operation is ${result[name]}, at most ${LIMITS[name]} is allowed; ` +
            'ask for smaller pages (first), fewer points (maxPoints, deviceIds), fewer fields, or in ' +
            'several requests',
        );
      },
    },
  });
}
