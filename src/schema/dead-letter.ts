import { type DeadLetterRow, deadLettersPage } from '../store/dead-letters-page.ts';
import type { Builder } from './builder.ts';
import { connectionType, page, pageComplexity } from './connection.ts';
import { requireOperator } from './viewer.ts';

export function defineDeadLetter(builder: Builder): void {
  builder.objectType('DeadLetter', {
    description: 'A message that could not be stored, with its original bytes.',
    fields: (t) => ({
      id: t.id({ resolve: ({ id }) => String(id) }),
      topic: t.exposeString('topic', { nullable: true, description: 'Of MQTT.' }),
      reason: t.exposeString('reason', { description: 'A stable code: `BAD_JSON`.' }),
      detail: t.exposeString('detail', { description: 'What was wrong, and what is accepted.' }),
      time: t.field({
        type: 'DateTime',
        description: 'When it arrived in the log.',
        resolve: ({ arrivalTime }) => arrivalTime,
      }),
      payload: t.string({
        description: 'In base64.',
        resolve: ({ payload }) => Buffer.from(payload).toString('base64'),
      }),
      logTopic: t.exposeString('logTopic'),
      partition: t.exposeInt('partition'),
      offset: t.expose('offset', { type: 'SafeInt' }),
    }),
  });
  const Connection = connectionType(builder, 'DeadLetter');
  builder.queryField('deadLetters', (t) =>
    t.field({
      type: Connection,
      nullable: true,
      description: 'The newest first. Operators only.',
      args: {
        first: t.arg.int({ defaultValue: 50 }),
        after: t.arg.string(),
        reason: t.arg.string(),
        topic: t.arg.string(),
      },
      complexity: pageComplexity,
      resolve: (_, args, context) => {
        requireOperator(context);
        return page<DeadLetterRow, [number]>(args, {
          key: (letter) => [letter.id],
          shape: ['number'],
          fetch: (after, limit) =>
            deadLettersPage(context.sql, {
              before: after?.[0] ?? null,
              reason: args.reason ?? null,
              topic: args.topic ?? null,
              limit,
            }),
        });
      },
    }),
  );
}
