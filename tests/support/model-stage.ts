import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { model as logistics } from '../../examples/logistics/model.ts';
import { model as ticks } from '../../examples/ticks/model.ts';
import type { Column, Model } from '../../src/domain/model.ts';
import { fieldName } from '../../src/domain/model-names.ts';
import type { RejectReason } from '../../src/domain/reading.ts';
import { MICROS_PER_SECOND } from '../../src/domain/time.ts';
import { compileTopic } from '../../src/domain/topic.ts';
import { nowMicros } from '../../src/loadtest/clock.ts';
import type { Fields } from '../../src/loadtest/fleet.ts';
import { createRandom } from '../../src/loadtest/random.ts';
import type { Signal } from '../../src/loadtest/signals.ts';
import { createSimulation, readingOf, type Simulation } from '../../src/loadtest/simulation.ts';
import { model as telemetry } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { type Settings, startTestApp, type TestApp } from './app.ts';
import { connectClient, type Heard, listen, query } from './app-clients.ts';
import { eventually } from './process.ts';

const ROOT = join(import.meta.dir, '..', '..');

/** The models on which all of the process is tried. */
export const MODELS: readonly { file: string; model: Model }[] = [
  { file: 'src/model.ts', model: telemetry },
  { file: 'examples/logistics/model.ts', model: logistics },
  { file: 'examples/ticks/model.ts', model: ticks },
];

export interface Sent {
  deviceId: string;
  /** RFC 3339, to the microsecond. */
  time: string;
  sequenceId: number;
  topic: string;
  payload: string;
  fields: Fields;
}

/** A real process of one model, and its clients. */
export interface ModelStage {
  readonly app: TestApp;
  readonly model: Model;
  readonly simulation: Simulation;
  readonly sql: Sql;
  readonly client: MqttClient;
  /** All that came on the topics of users. */
  readonly heard: readonly Heard[];
  /** Whose devices they are. */
  readonly user: string;
  /** The first column of numbers. */
  readonly number: string;
  /** A reading like those of the load test, in which these signals' rules hold. */
  fields(...holding: Signal[]): Fields;
  /** A second after the one before; `micros`: at that time instead. */
  message(deviceId: string, fields?: Fields, micros?: number): Sent;
  /** Publishes it, and resolves once it is acknowledged. */
  send(deviceId: string, fields?: Fields, micros?: number): Promise<Sent>;
  publish(message: Pick<Sent, 'topic' | 'payload'>): Promise<void>;
  /** Resolves when all that was acknowledged is stored or a dead letter. */
  settled(): Promise<void>;
  /** Of a device, by time. */
  rows(deviceId: string): Promise<Record<string, unknown>[]>;
  /** What came about a rule on a device: `FIRED 2026-...`, each once. */
  alerts(ruleId: string, deviceId: string): string[];
  remove(): Promise<void>;
}

export async function modelStage(
  { file, model }: (typeof MODELS)[number],
  settings: Settings = {},
): Promise<ModelStage> {
  const app = await startTestApp({ MODEL: join(ROOT, file), ...settings });
  const simulation = createSimulation(model);
  const sql = connect(app.databaseUrl, { max: 2 });
  const client = await connectClient(app.mqttUrl);
  const heard = await listen(client, 'users/+/#');
  const user = simulation.owner ?? 'ann';
  const random = createRandom(file);
  let clock = nowMicros() - 7_200 * MICROS_PER_SECOND;
  let sequenceId = 0;

  const fields = (...holding: Signal[]) =>
    readingOf(simulation, random, (signal) => holding.includes(signal));
  function message(deviceId: string, values = fields(), micros?: number): Sent {
    clock += MICROS_PER_SECOND;
    sequenceId++;
    const payload = simulation.encode(micros ?? clock, sequenceId, values);
    const { time } = JSON.parse(payload);
    const topic = simulation.topic({ userId: user, deviceId });
    return { deviceId, time, sequenceId, topic, payload, fields: values };
  }
  async function publish({ topic, payload }: Pick<Sent, 'topic' | 'payload'>): Promise<void> {
    await client.publishAsync(topic, payload, { qos: 1 });
  }

  return {
    app,
    model,
    simulation,
    sql,
    client,
    heard,
    user,
    number: numberColumn(model),
    fields,
    message,
    publish,
    async send(...of) {
      const sent = message(...of);
      await publish(sent);
      return sent;
    },
    settled: async () => {
      await eventually(
        'all is stored',
        async () => (await query(app.graphqlUrl, '{ ingest { lag } }')).ingest.lag === 0,
        30_000,
      );
    },
    rows: async (deviceId) => {
      const rows = await sql.unsafe<{ row: Record<string, unknown> }[]>(
        `SELECT to_jsonb(t) AS row FROM ${model.table} t
         WHERE ${model.device.column} = $1 ORDER BY time`,
        [deviceId],
      );
      return rows.map(({ row }) => row);
    },
    alerts: (ruleId, deviceId) => {
      const own = heard.filter(
        ({ topic, json }) =>
          topic === `users/${user}/alerts` &&
          json.rule_id === ruleId &&
          json.device_id === deviceId,
      );
      // By the events' ids: QoS 1 may bring one twice.
      return [...new Map(own.map(({ json }) => [json.seq, `${json.type} ${json.time}`])).values()];
    },
    async remove() {
      await client.endAsync(true);
      await sql.end({ timeout: 1 });
      await app.remove();
    },
  };
}

function numberColumn({ columns, columnNames }: Model): string {
  const isNumber = (name: string) => /^(double|integer)$/.test(columns[name]?.type ?? '');
  return columnNames.find(isNumber) as string;
}

/** As `Reading` in GraphQL has a column. */
export function selection({ columns, columnNames }: Model): string {
  const parts = (name: string) => (columns[name]?.type === 'point' ? '{ latitude longitude }' : '');
  return columnNames.map((name) => `${fieldName(name)} ${parts(name)}`).join(' ');
}

export interface BadMessage {
  reason: RejectReason;
  topic: string;
  payload: string;
}

/** One message for every way in which this model's can be wrong. `of`: a good one. */
export function badMessages(model: Model, of: Sent): BadMessage[] {
  const payload = JSON.parse(of.payload) as Record<string, unknown>;
  const without = (name: string) => ({ ...payload, [name]: undefined });
  const columns = Object.entries(model.columns);
  const changed: [RejectReason, object][] = [
    ['MISSING_FIELD', without('time')],
    ['TIME_OUT_OF_RANGE', { ...payload, time: '1999-12-31T23:59:59Z' }],
    ['DEVICE_MISMATCH', { ...payload, [model.device.column]: 'another' }],
    ...(model.sequence === null
      ? []
      : [['MISSING_FIELD', without(model.sequence.column)] as [RejectReason, object]]),
    ...columns.flatMap(([name, column]): [RejectReason, object][] => [
      ['WRONG_TYPE', { ...payload, [name]: wrongType(column) }],
      ...outOfRange(column).map((value): [RejectReason, object] => [
        'OUT_OF_RANGE',
        { ...payload, [name]: value },
      ]),
      ...(column.nullable ? [] : [['MISSING_FIELD', without(name)] as [RejectReason, object]]),
    ]),
  ];
  const { match, resembles } = compileTopic(model);
  const astray = [`x/${of.topic}`, `${of.topic}/x`].find((t) => resembles(t) && match(t) === null);
  return [
    ...changed.map(([reason, fields]) => {
      return { reason, topic: of.topic, payload: JSON.stringify(fields) };
    }),
    { reason: 'BAD_JSON', topic: of.topic, payload: of.payload.slice(0, -1) },
    { reason: 'BAD_TOPIC', topic: astray as string, payload: of.payload },
  ];
}

function wrongType(column: Column): unknown {
  return column.type === 'text' ? 7 : 'seven';
}

function outOfRange(column: Column): unknown[] {
  switch (column.type) {
    case 'text':
      return ['x'.repeat(column.maxLength + 1), ...(column.values ? ['NOT_ONE_OF_THEM'] : [])];
    case 'point':
      return [
        { latitude: 90.5, longitude: 0 },
        { latitude: 0, longitude: -181 },
      ];
    case 'boolean':
      return [];
    default:
      return [
        ...(column.min === undefined ? [] : [column.min - 1]),
        ...(column.max === undefined ? [] : [column.max + 1]),
      ];
  }
}
