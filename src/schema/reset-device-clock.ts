import { deviceKey } from '../domain/topic.ts';
import { resetDeviceClock } from '../store/reset-device-clock.ts';
import type { Builder } from './builder.ts';
import { deviceLoader } from './device.ts';
import { apiError } from './errors.ts';
import { forgetLoaded } from './request-loader.ts';
import { subjectUser } from './viewer.ts';

export function defineResetDeviceClock(builder: Builder): void {
  builder.mutationField('resetDeviceClock', (t) =>
    t.field({
      type: 'Device',
      description:
        'Releases a device whose clock went back, whose readings are therefore LATE for every ' +
        'rule: the rules forget which reading they saw last, so the next one is judged whatever ' +
        'it is dated. What was held for a while begins anew; open alerts go on. Never done by ' +
        'itself, since readings that a device sends belatedly look the same.',
      args: {
        userId: t.arg.id({ description: 'Owner of the device; the caller where it is left out.' }),
        deviceId: t.arg.id({ required: true, description: "The user's own name for it." }),
      },
      resolve: async (_, { userId, deviceId }, context) => {
        const { sql, logger, viewer, requestId } = context;
        const device = { userId: subjectUser(context, userId), deviceId };
        const done = await resetDeviceClock(sql, device);
        forgetLoaded(context);
        const row = done ? await deviceLoader(context).load(device) : null;
        if (row === null) {
          throw apiError('NOT_FOUND', `there is no device ${JSON.stringify(deviceId)}`);
        }
        const actor = viewer.kind === 'user' ? viewer.userId : viewer.kind;
        logger.info({ device: deviceKey(device), actor, requestId }, "a device's clock was reset");
        return row;
      },
    }),
  );
}
