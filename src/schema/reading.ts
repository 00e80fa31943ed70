import type { Column, Model } from '../domain/model.ts';
import { fieldName } from '../domain/model-names.ts';
import type { Reading } from '../domain/reading.ts';
import { deviceKey, isTopicName } from '../domain/topic.ts';
import { OverrunError } from '../engine/reading-feed.ts';
import type { DeviceKey } from '../store/devices-by-key.ts';
import { latestReadings } from '../store/latest-readings.ts';
import { type ReadingsPage, readingsPages } from '../store/readings-page.ts';
import type { Builder } from './builder.ts';
import { AFTER, connectionType, FIRST, page, pageComplexity } from './connection.ts';
import type { Context } from './context.ts';
import { apiError, badArgument, checkRange } from './errors.ts';
import { requestListLoader, requestLoader } from './request-loader.ts';
import { delivered, deliveries } from './subscription.ts';
import { subjectDevice } from './viewer.ts';

/** Null where the device has no reading that is still stored. */
const latestLoader = requestLoader<DeviceKey, Reading | null>(async (keys, { sql, model }) => {
  const readings = await latestReadings(sql, model, keys);
  const byDevice = new Map(readings.map((reading) => [deviceKey(reading), reading]));
  return keys.map((key) => byDevice.get(deviceKey(key)) ?? null);
}, deviceKey);

const readingsLoader = requestListLoader<DeviceKey, Reading, ReadingsPage>(
  (devices, asked, { sql, model }) => readingsPages(sql, model, devices, asked),
  deviceKey,
);

export function defineReading(builder: Builder, model: Model): void {
  builder.objectType('Reading', {
    description: "One measurement: the model's columns as fields, the rest in extraData.",
    fields: (t) => ({
      time: t.expose('time', { type: 'DateTime', description: 'When it was measured.' }),
      deviceId: t.exposeID('deviceId', { description: "By which of the user's devices." }),
      sequenceId: t.expose('sequenceId', {
        type: 'SafeInt',
        description: 'Given by the device: readings of one time differ in it.',
      }),
      extraData: t.field({
        type: 'JSON',
        nullable: true,
        description: 'Fields that the model does not declare, every number to the digit.',
        resolve: (reading) => reading.extra as never,
      }),
    }),
  });
  builder.enumType('Order', {
    description: 'By time.',
    values: {
      ASC: { description: 'The oldest first.' },
      DESC: { description: 'The newest first.' },
    },
  });
  defineDeviceField(builder, model);
  defineColumns(builder, model);
  defineReadings(builder);
  definePush(builder);
}

const GRAPHQL_TYPE = {
  double: 'Float',
  integer: 'Int',
  text: 'String',
  boolean: 'Boolean',
  point: 'Point',
} as const;

/** The device by the model's name for it, where that is another. */
function defineDeviceField(builder: Builder, { device: { column } }: Model): void {
  if (fieldName(column) === 'deviceId') return;
  builder.objectField('Reading', fieldName(column), (t) =>
    t.exposeID('deviceId', { description: `What \`${column}\` is in the model: the device.` }),
  );
}

/** One field for each declared column, in camel case as all fields are. */
function defineColumns(builder: Builder, model: Model): void {
  if (Object.values(model.columns).some(({ type }) => type === 'point')) definePoint(builder);
  for (const name of model.columnNames) {
    const column = model.columns[name];
    if (column === undefined) continue;
    builder.objectField('Reading', fieldName(name), (t) =>
      t.field({
        type: GRAPHQL_TYPE[column.type],
        nullable: column.nullable,
        description: describe(name, column),
        // They come with the row: a model of many columns has pages as long as one of few.
        complexity: 0,
        resolve: (reading) => reading.columns[name] as never,
      }),
    );
  }
}

function describe(name: string, column: Column): string {
  const values = column.type === 'text' ? column.values : undefined;
  const one =
    values === undefined ? '' : `: one of ${values.map((value) => `\`${value}\``).join(', ')}`;
  return `The column \`${name}\` of the model${one}.`;
}

function definePoint(builder: Builder): void {
  builder.objectType('Point', {
    description: 'A place on the earth, in degrees (WGS 84).',
    fields: (t) => ({
      latitude: t.exposeFloat('latitude', {
        complexity: 0,
        description: 'From -90 to 90; the north is positive.',
      }),
      longitude: t.exposeFloat('longitude', {
        complexity: 0,
        description: 'From -180 to 180; the east is positive.',
      }),
    }),
  });
}

function defineReadings(builder: Builder): void {
  const Connection = connectionType(builder, 'Reading');
  builder.objectFields('Device', (t) => ({
    latest: t.field({
      type: 'Reading',
      nullable: true,
      description: 'The newest by its own time.',
      resolve: (device, _, context) => latestLoader(context).load(device),
    }),
    readings: t.field({
      type: Connection,
      description: 'By time, then sequenceId; the newest first unless told otherwise.',
      args: {
        from: t.arg({ type: 'DateTime', description: 'Inclusive; left out: the oldest.' }),
        to: t.arg({ type: 'DateTime', description: 'Exclusive.' }),
        first: t.arg.int({ defaultValue: 100, description: FIRST }),
        after: t.arg.string({ description: AFTER }),
        order: t.arg({ type: 'Order', defaultValue: 'DESC', description: 'By time.' }),
      },
      complexity: pageComplexity,
      resolve: (device, args, context) => {
        checkRange(args.from, args.to);
        return page<Reading, [number, number]>(args, {
          key: (reading) => [reading.time, reading.sequenceId],
          shape: ['number', 'number'],
          fetch: (after, limit) =>
            readingsLoader(context, {
              from: args.from ?? null,
              to: args.to ?? null,
              order: args.order ?? 'DESC',
              after: after === null ? null : { time: after[0], sequenceId: after[1] },
              limit,
            }).load(device),
        });
      },
    }),
  }));
}

function definePush(builder: Builder): void {
  builder.subscriptionField('readings', (t) =>
    t.field({
      type: 'Reading',
      description:
        'Readings of one device from now on, each once, of any time: in the order of arrival ' +
        "where this process reads the device's partition. What other processes store is read 4 " +
        'times a second and comes by time; a late reading of theirs, older than one before it, may ' +
        'be left out. A subscriber that falls too far behind is told so and ended.',
      args: {
        userId: t.arg.id({ description: 'Left out: the caller.' }),
        deviceId: t.arg.id({ required: true, description: 'It may have sent nothing yet.' }),
      },
      subscribe: (_, args, context) => {
        const device = subjectDevice(context, args);
        for (const [name, value] of Object.entries(device)) {
          if (!isTopicName(value)) throw badArgument(name, 'empty, or holds /, +, # or NUL');
        }
        return deliveries(context, (signal) => follow(context, device, signal));
      },
      resolve: (delivery) => delivered(delivery),
    }),
  );
}

/** @throws UNAVAILABLE for a subscriber who reads more slowly than the device sends */
async function* follow(
  { feed }: Context,
  device: DeviceKey,
  signal: AbortSignal,
): AsyncIterableIterator<readonly Reading[]> {
  try {
    for await (const reading of feed.watch(device, signal)) yield [reading];
  } catch (error) {
    if (!(error instanceof OverrunError)) throw error;
    const message =
      'too many readings wait to be read: subscribe again, and list the readings of what lies between';
    throw apiError('UNAVAILABLE', message);
  }
}
