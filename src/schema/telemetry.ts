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
  builder.enumType('Fill', { values: ['NONE', 'NULL', 'PREVIOUS', 'LINEAR'] as const });
  builder.objectType('TelemetryPoint', {
    description: 'One bucket. `end` is exclusive.',
    fields: (t) => ({
      start: t.expose('start', { type: 'DateTime' }),
      end: t.expose('end', { type: 'DateTime' }),
      count: t.exposeInt('count'),
      avg: t.exposeFloat('avg', { nullable: true }),
      min: t.exposeFloat('min', { nullable: true }),
      max: t.exposeFloat('max', { nullable: true }),
      sum: t.exposeFloat('sum', { nullable: true }),
      first: t.exposeFloat('first', { nullable: true }),
      last: t.exposeFloat('last', { nullable: true }),
      filled: t.exposeBoolean('filled', {
        description: 'True where the bucket holds no reading and fill made the value.',
      }),
    }),
  });
  builder.objectType('TelemetrySeries', {
    fields: (t) => ({
      known: t.exposeBoolean('known', {
        description: "False for a key that none of the device's newest 10,000 readings has.",
      }),
      deviceId: t.exposeID('deviceId'),
      key: t.exposeString('key'),
      bucket: t.expose('bucket', { type: 'Duration' }),
      timezone: t.expose('timezone', { type: 'TimeZone' }),
      // The points have a limit of their own.
      points: t.expose('points', {
        type: ['TelemetryPoint'],
        complexity: { field: 1, multiplier: 1 },
      }),
    }),
  });
  defineFields(builder);
}

function defineFields(builder: Builder): void {
  const seriesArgs = builder.args((arg) => ({
    keys: arg.stringList({ required: true }),
    from: arg.field({ type: 'DateTime', required: true }),
    to: arg.field({ type: 'DateTime', required: true, description: 'Exclusive.' }),
    bucket: arg.field({ type: 'Duration' }),
    maxPoints: arg.int(),
    fill: arg.field({ type: 'Fill', defaultValue: 'NONE' }),
    timezone: arg.field({ type: 'TimeZone', defaultValue: UTC }),
  }));
  builder.objectField('User', 'telemetry', (t) =>
    t.field({
      type: ['TelemetrySeries'],
      description:
        'Time buckets, one series per device and key; of all devices where none is named. ' +
        '`bucket` wins over `maxPoints` (default 500).',
      args: { deviceIds: t.arg.idList(), ...seriesArgs },
      complexity: { field: 20, multiplier: 1 },
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
      complexity: { field: 20, multiplier: 1 },
      resolve: (device, args, context, info) => {
        const ends = asksFor(info, ENDS);
        return seriesLoader(context, { ...args, timezone: args.timezone ?? UTC, ends }).load(
          device,
        );
      },
    }),
  );
}
