import type { Micros } from '../domain/time.ts';
import { deviceKey } from '../domain/topic.ts';
import type { DeviceRow } from '../store/device-columns.ts';
import { type DeviceKey, devicesByKey } from '../store/devices-by-key.ts';
import { type DevicesPage, devicesPages } from '../store/devices-page.ts';
import type { Builder } from './builder.ts';
import { AFTER, connectionType, FIRST, page, pageComplexity } from './connection.ts';
import type { Context } from './context.ts';
import { requestListLoader, requestLoader } from './request-loader.ts';

/** Null where there is no such device. */
export const deviceLoader = requestLoader<DeviceKey, DeviceRow | null>(async (keys, { sql }) => {
  const rows = await devicesByKey(sql, keys);
  const byKey = new Map(rows.map((row) => [deviceKey(row), row]));
  return keys.map((key) => byKey.get(deviceKey(key)) ?? null);
}, deviceKey);

const devicesLoader = requestListLoader<{ userId: string }, DeviceRow, DevicesPage>(
  (users, asked, { sql }) =>
    devicesPages(
      sql,
      users.map(({ userId }) => userId),
      asked,
    ),
  ({ userId }) => userId,
);

/** A device as a resolver hands it on: its name is enough, the rest is read where it is asked for. */
export interface DeviceSource extends DeviceKey {
  firstSeenAt?: Micros;
  lastSeenAt?: Micros | null;
  /** What stands in where its state was deleted by hand: when a message of it arrived. */
  arrivedAt?: Micros;
}

async function seen(device: DeviceSource, context: Context): Promise<DeviceSource> {
  if (device.firstSeenAt !== undefined) return device;
  const row = await deviceLoader(context).load(device);
  return row ?? { ...device, firstSeenAt: device.arrivedAt, lastSeenAt: device.arrivedAt };
}

export function defineDevice(builder: Builder): void {
  builder.objectType('Device', {
    description: 'A device that has sent at least one message that was stored.',
    fields: (t) => ({
      id: t.id({
        description: 'Its name among the devices of all users. Opaque.',
        resolve: (device) => globalId('Device', device.userId, device.deviceId),
      }),
      deviceId: t.exposeID('deviceId', { description: "The user's own name for it." }),
      user: t.field({
        type: 'User',
        description: 'Whose it is.',
        resolve: (device) => ({ id: device.userId }),
      }),
      firstSeenAt: t.field({
        type: 'DateTime',
        description: 'When its first message arrived.',
        resolve: async (device, _, context) => (await seen(device, context)).firstSeenAt as Micros,
      }),
      lastSeenAt: t.field({
        type: 'DateTime',
        nullable: true,
        description: 'When its newest message arrived, whatever time that was dated.',
        resolve: async (device, _, context) => (await seen(device, context)).lastSeenAt,
      }),
    }),
  });
  builder.queryField('myDevice', (t) =>
    t.field({
      type: 'Device',
      nullable: true,
      description:
        "The device of the caller's token, once a message of it is stored; null for any other caller.",
      resolve: (_, __, context) =>
        context.viewer.kind === 'device' ? deviceLoader(context).load(context.viewer) : null,
    }),
  );
  const Connection = connectionType(builder, 'Device');
  builder.objectFields('User', (t) => ({
    device: t.field({
      type: 'Device',
      nullable: true,
      description: 'Null where no message of it has been stored.',
      args: { deviceId: t.arg.id({ required: true, description: "The user's own name for it." }) },
      resolve: (user, { deviceId }, context) =>
        deviceLoader(context).load({ userId: user.id, deviceId }),
    }),
    devices: t.field({
      type: Connection,
      description: 'By name.',
      args: {
        first: t.arg.int({ defaultValue: 50, description: FIRST }),
        after: t.arg.string({ description: AFTER }),
        search: t.arg.string({ description: 'Part of the name, in any case.' }),
      },
      complexity: pageComplexity,
      resolve: (user, args, context) =>
        page<DeviceRow, [string]>(args, {
          key: (device) => [device.deviceId],
          shape: ['string'],
          fetch: (after, limit) =>
            devicesLoader(context, {
              after: after?.[0] ?? null,
              search: args.search || null,
              limit,
            }).load({ userId: user.id }),
        }),
    }),
  }));
}

/** An id that is the same object's everywhere, and that nobody should take apart. */
export function globalId(type: string, ...names: string[]): string {
  return Buffer.from(JSON.stringify([type, ...names])).toString('base64url');
}
