/** The API's objects as the documents in documents.ts ask for them. Times are RFC 3339 texts. */
export type Severity = 'INFO' | 'WARNING' | 'CRITICAL';
export type Operator = 'GT' | 'LT' | 'GTE' | 'LTE' | 'EQ' | 'NE';

export interface Reading {
  time: string;
  sequenceId: number;
  extraData: Record<string, unknown> | null;
  /** The model's columns, by their GraphQL names. */
  [field: string]: unknown;
}

export interface DeviceRow {
  userId: string;
  deviceId: string;
  lastSeenAt: string | null;
  latest: Reading | null;
}

export interface Alert {
  id: string;
  status: 'FIRING' | 'RESOLVED';
  severity: Severity;
  message: string;
  ruleId: string;
  key: string | null;
  operator: Operator | null;
  threshold: unknown;
  value: unknown;
  startedAt: string;
  lastSeenAt: string;
  resolvedAt: string | null;
  resolveReason: string | null;
  acknowledgedAt: string | null;
  acknowledgedBy: string | null;
  snoozedUntil: string | null;
  user: { id: string };
  device: { deviceId: string };
}

export interface AlertEvent {
  seq: number;
  type: string;
  time: string;
  value: unknown;
  message: string;
  actor: string | null;
}

export interface AlertDetail extends Alert {
  ruleVersion: number;
  evidence: {
    eventTime: string | null;
    arrivalTime: string;
    holdingSince: string;
    partition: number;
    offset: number;
    sequenceId: number | null;
  };
  events: AlertEvent[];
}

/** As the API takes it, and as `Rule` reads back. */
export interface RuleInput {
  ruleId?: string | null;
  kind?: 'THRESHOLD' | 'NO_DATA' | null;
  key?: string | null;
  operator?: Operator | null;
  threshold?: unknown;
  for?: string | null;
  clear?: { threshold?: unknown; for?: string | null } | null;
  noData?: string | null;
  severity?: Severity | null;
  message: string;
  devices?: string | null;
  enabled?: boolean | null;
}

export interface Rule extends RuleInput {
  ruleId: string;
  disabledDevices: string[];
}

export interface Issue {
  path: string;
  message: string;
}

export interface RuleSet {
  version: number;
  updatedAt: string;
  updatedBy: string;
  issues: Issue[];
  rules: Rule[];
  /** The model's shorthands, by their GraphQL names. */
  [shorthand: string]: unknown;
}

export interface Episode {
  deviceId: string;
  startedAt: string;
  resolvedAt: string | null;
  message: string;
  severity?: Severity;
}

export interface Backtest {
  devices: number;
  readings: number;
  episodeCount: number;
  firingAtEnd: number;
  liveEpisodes: number | null;
  firing: string;
  notes: string[];
  episodes: Episode[];
}

export interface Point {
  start: string;
  end: string;
  count: number;
  avg: number | null;
  min: number | null;
  max: number | null;
}

export interface Series {
  key: string;
  known: boolean;
  bucket: string;
  points: Point[];
}

export interface IngestStatus {
  lag: number;
  rate: number | null;
  newestAlertSeq: number;
  counters: { records: number; live: number; late: number; deadLetters: number };
  partitions: {
    partition: number;
    lag: number | null;
    rate: number | null;
    watermarkAge: number | null;
    state: string | null;
    problem: string | null;
  }[];
}

export interface Page<T> {
  nodes: T[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

export interface DeadLetter {
  id: string;
  time: string;
  topic: string | null;
  reason: string;
  detail: string;
  payload: string;
  partition: number;
  offset: number;
  replayedAt: string | null;
  replayedBy: string | null;
}
