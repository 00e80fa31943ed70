import { snoozeFault } from '../domain/alert-operation.ts';
import { acknowledge } from '../store/acknowledge.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { snooze } from '../store/snooze.ts';
import { unsnooze } from '../store/unsnooze.ts';
import { alertLoader } from './alert.ts';
import type { Builder } from './builder.ts';
import type { Context } from './context.ts';
import { apiError, badArgument } from './errors.ts';
import { forgetLoaded } from './request-loader.ts';
import { actorOf, maySee } from './viewer.ts';

/** What people do about alerts. Each that changes something is an event, with who and when. */
export function defineAlertOperation(builder: Builder): void {
  builder.mutationField('acknowledgeAlert', (t) =>
    t.field({
      type: 'Alert',
      description: 'Says that somebody sees to this episode. Whoever was first stays.',
      args: { id: t.arg.id({ required: true, description: 'The `id` of the alert.' }) },
      resolve: async (_, { id }, context) =>
        await operate(context, id, ({ sql, alert, actor }) =>
          acknowledge(sql, { alert: alert.id, actor }),
        ),
    }),
  );
  builder.mutationField('snoozeAlert', (t) =>
    t.field({
      type: 'Alert',
      description:
        "Keeps quiet over MQTT about new episodes of the alert's rule on its device, from now on and " +
        'for so long: in the place of the snooze there is, unless that ends at about the same time. ' +
        'What is firing at its end is reminded of once.',
      args: {
        id: t.arg.id({ required: true, description: 'The `id` of the alert.' }),
        for: t.arg({ type: 'Duration', required: true, description: 'A year at most.' }),
      },
      resolve: async (_, { id, for: duration }, context) => {
        const fault = snoozeFault(duration);
        if (fault !== null) throw badArgument('for', fault);
        return await operate(context, id, ({ sql, alert: rule, actor }) =>
          snooze(sql, { rule, duration, actor }),
        );
      },
    }),
  );
  builder.mutationField('unsnoozeAlert', (t) =>
    t.field({
      type: 'Alert',
      description: "Ends the snooze of the alert's rule on its device, where there is one.",
      args: { id: t.arg.id({ required: true, description: 'The `id` of the alert.' }) },
      resolve: async (_, { id }, context) =>
        await operate(context, id, ({ sql, alert: rule, actor }) => unsnooze(sql, { rule, actor })),
    }),
  );
}

interface Operation {
  sql: Context['sql'];
  alert: AlertRow;
  actor: string;
}

/** @throws NOT_FOUND for an alert that is not there or another's */
async function operate(
  context: Context,
  id: string,
  work: (operation: Operation) => Promise<unknown>,
): Promise<AlertRow> {
  const find = async () => {
    const alert = await alertLoader(context).load(id);
    if (alert !== null && maySee(context, alert.userId)) return alert;
    throw apiError('NOT_FOUND', `there is no alert ${JSON.stringify(id)}`);
  };
  await work({ sql: context.sql, alert: await find(), actor: actorOf(context) });
  context.tail.poke();
  forgetLoaded(context);
  return await find();
}
