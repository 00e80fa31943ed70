import type { GraphQLResolveInfo } from 'graphql';
import { deviceKey } from '../domain/topic.ts';
import { type Zone, zone } from '../domain/zone.ts';
import type { DeviceKey } from '../store/devices-by-key.ts';
import type { Builder } from './builder.ts';
import { requestListLoader } from './request-loader.ts';
import {
  chosenDevices,
  devicesAtOnce,
  type TelemetryArgs,
  type TelemetrySeries,
  telemetryComplexity,
  telemetrySeries,
} from './telemetry-series.ts';

const ENDS = ['first', 'last'];
const UTC = zone('UTC') as Zone;

type Asked = TelemetryArgs & { timezone: Zone; ends: boolean };

/** Of a list of devices as many together as one call may have points for. */
const seriesLoader = requestListLoader<DeviceKey, TelemetrySeries & DeviceKey, Asked>(
  async (devices, { ends, ...args }, context) => {
    const found: (TelemetrySeries & DeviceKey)[] = [];
    const size = devicesAtOnce(args);
    for (const [userId, own] of Map.groupBy(devices, (device) => device.userId)) {
      const ids = own.map(({ deviceId }) => deviceId);
      for (let at = 0; at < ids.length; at += size) {
        const some = ids.slice(at, at + size);
        const series = await telemetrySeries(context, userId, some, args, ends);
        found.push(...series.map((one) => ({ ...one, userId })));
      }
    }
    return found;
  },
  deviceKey,
);

/** Whether the operation asks for a field of the series' points. */
function asksFor(info: GraphQLResolveInfo, fields: readonly string[]): boolean {
  const names = new Set(fields);
  const within = (selections: readonly unknown[]): boolean =>
    (selections as { kind: string; name?: { value: string }; selectionSet?: never }[]).some(
      ({ kind, name, selectionSet }) =>
        kind === 'FragmentSpread'
          ? within(info.fragments[name?.value ?? '']?.selectionSet.selections ?? [])
          : names.has(name?.value ?? '') ||
            within((selectionSet as { selections: unknown[] } | undefined)?.selections ?? []),
    );
  return within(info.fieldNodes);
}

export function defineTelemetry(builder: Builder): void {
  builder.enumType('Fill', {
    description: 'What becomes of buckets without a reading.',
    values: {
      NONE: { description: 'They are left out.' },
      NULL: { description: 'They are there, and their values null.' },
      PREVIOUS: { description: 'They have the values of the bucket before.' },
      LINEAR: { description: 'Their values lie on a line between those before and behind.' },
    },
  });
  builder.objectType('TelemetryPoint', {
    description: 'One bucket. `end` is exclusive.',
    fields: (t) => ({
      start: t.expose('start', { type: 'DateTime', description: 'Inclusive.' }),
      end: t.expose('end', { type: 'DateTime', description: 'Exclusive.' }),
      count: t.exposeInt('count', { description: 'Readings with a value.' }),
      avg: t.exposeFloat('avg', { nullable: true, description: 'The mean.' }),
      min: t.exposeFloat('min', { nullable: true, description: 'The least.' }),
      max: t.exposeFloat('max', { nullable: true, description: 'The greatest.' }),
      sum: t.exposeFloat('sum', { nullable: true, description: 'Of all values.' }),
      first: t.exposeFloat('first', { nullable: true, description: 'The earliest.' }),
      last: t.exposeFloat('last', { nullable: true, description: 'The latest.' }),
      filled: t.exposeBoolean('filled', {
        description: 'True where the bucket holds no reading and fill made the value.',
      }),
    }),
  });
  builder.objectType('TelemetrySeries', {
    description: 'One key of one device, in time buckets.',
    fields: (t) => ({
      known: t.exposeBoolean('known', {
        description: "False for a key that none of the device's newest 10,000 readings has.",
      }),
      deviceId: t.exposeID('deviceId', { description: 'Which device.' }),
      key: t.exposeString('key', { description: 'Which of the keys that were asked for.' }),
      bucket: t.expose('bucket', {
        type: 'Duration',
        description: 'Length of each bucket; of the calendar from a day on.',
      }),
      timezone: t.expose('timezone', {
        type: 'TimeZone',
        description: 'Whose midnight begins a day.',
      }),
      // The call is priced by its points.
      points: t.expose('points', {
        type: ['TelemetryPoint'],
        description: 'By time.',
        complexity: { field: 1, multiplier: 1 },
      }),
    }),
  });
  defineFields(builder);
}

function defineFields(builder: Builder): void {
  const seriesArgs = builder.args((arg) => ({
    keys: arg.stringList({
      required: true,
      description: 'Numeric columns, or dotted paths into the payload: `engine.rpm`. At most 20.',
    }),
    from: arg.field({ type: 'DateTime', required: true, description: 'Inclusive.' }),
    to: arg.field({ type: 'DateTime', required: true, description: 'Exclusive.' }),
    bucket: arg.field({
      type: 'Duration',
      description: 'Length of a bucket; left out: as long as `maxPoints` asks.',
    }),
    maxPoints: arg.int({
      description: 'Without `bucket`: at most so many buckets, 1 to 10,000; 500 where left out.',
    }),
    fill: arg.field({
      type: 'Fill',
      defaultValue: 'NONE',
      description: 'What becomes of buckets without a reading.',
    }),
    timezone: arg.field({
      type: 'TimeZone',
      defaultValue: UTC,
      description: 'Whose midnight begins a day.',
    }),
  }));
  builder.objectField('User', 'telemetry', (t) =>
    t.field({
      type: ['TelemetrySeries'],
      description:
        'Time buckets, one series per device and key; of all devices where none is named. ' +
        '`bucket` wins over `maxPoints` (default 500).',
      args: {
        deviceIds: t.arg.idList({ description: 'Left out: all, up to 1,000.' }),
        ...seriesArgs,
      },
      complexity: ({ deviceIds, ...args }) => telemetryComplexity(args, deviceIds?.length),
      resolve: async (user, args, context, info) => {
        const deviceIds = await chosenDevices(context, user.id, args.deviceIds ?? null);
        const all = { ...args, timezone: args.timezone ?? UTC };
        return await telemetrySeries(context, user.id, deviceIds, all, asksFor(info, ENDS));
      },
    }),
  );
  builder.objectField('Device', 'telemetry', (t) =>
    t.field({
      type: ['TelemetrySeries'],
      description: 'Time buckets, one series per key.',
      args: seriesArgs,
      complexity: (args) => telemetryComplexity(args, 1),
      resolve: (device, args, context, info) => {
        const ends = asksFor(info, ENDS);
        return seriesLoader(context, { ...args, timezone: args.timezone ?? UTC, ends }).load(
          device,
        );
      },
    }),
  );
}
