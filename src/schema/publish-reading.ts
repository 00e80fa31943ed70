import { MESSAGE_TOO_LARGE } from '../domain/log.ts';
import { compileTopic, deviceKey, isTopicName } from '../domain/topic.ts';
import { withDeadline } from '../engine/retry.ts';
import { errorCode } from '../store/failure.ts';
import type { Builder } from './builder.ts';
import type { Context } from './context.ts';
import { apiError, badArgument, badUserInput } from './errors.ts';
import { subjectDevice } from './viewer.ts';

const APPEND_DEADLINE_MS = 10_000;

export function definePublishReading(builder: Builder): void {
  builder.mutationField('publishReading', (t) =>
    t.boolean({
      description:
        'Takes a reading in as if the device had sent it by MQTT: checked in the same way, and true ' +
        'once the log has it on disk. Its rows and alerts follow within moments. Where it answers ' +
        'UNAVAILABLE the reading may be in the log none the less; sent again it is stored once.',
      args: {
        userId: t.arg.id({ description: 'Owner of the device; the caller where it is left out.' }),
        deviceId: t.arg.id({ required: true, description: 'Also of a device not seen before.' }),
        reading: t.arg({
          type: 'JSON',
          required: true,
          description: 'The payload of a message: `{"time": ..., "sequence_id": ..., ...}`.',
        }),
      },
      resolve: async (_, { reading, ...named }, context) => {
        const device = subjectDevice(context, named);
        for (const [name, value] of Object.entries(device)) {
          if (!isTopicName(value)) throw badArgument(name, 'empty, or holds /, +, # or NUL');
        }
        const { owner } = context.model;
        if ('constant' in owner && device.userId !== owner.constant) {
          throw badArgument('userId', `all readings here are of ${owner.constant}`);
        }
        const topic = compileTopic(context.model).format(device);
        const key = deviceKey(device);
        await publish(context, { topic, key, value: Buffer.from(JSON.stringify(reading)) });
        return true;
      },
    }),
  );
}

/** @throws BAD_USER_INPUT for what would become a dead letter, UNAVAILABLE */
async function publish(
  { decode, appender, logger }: Context,
  message: { topic: string; key: string; value: Uint8Array },
): Promise<void> {
  const decoded = decode({ ...message, offset: 0, arrivalMs: Date.now() });
  if (!decoded.ok) {
    const { reason, detail } = decoded.rejection;
    throw badUserInput([{ path: 'reading', message: `${reason}: ${detail}` }]);
  }
  try {
    await withDeadline(appender.append(message), APPEND_DEADLINE_MS, 'the append to the log');
  } catch (error) {
    if (errorCode(error) === MESSAGE_TOO_LARGE) {
      throw badArgument('reading', 'too large for the log');
    }
    logger.warn({ err: error, topic: message.topic }, 'a published reading is not in the log');
    throw apiError('UNAVAILABLE', 'the log takes no readings at the moment; try again');
  }
}
