import { createDeadLetterReplay } from '../engine/replay-dead-letters.ts';
import { countDeadLetters } from '../store/count-dead-letters.ts';
import { type DeadLetterRow, deadLettersPage } from '../store/dead-letters-page.ts';
import type { Builder } from './builder.ts';
import { connectionType, page, pageComplexity } from './connection.ts';
import { badArgument } from './errors.ts';
import { actorOf, requireOperator } from './viewer.ts';

const REASON = 'Only those with this code: `BAD_JSON`.';
const TOPIC = 'Only those sent to exactly this MQTT topic.';

export function defineDeadLetter(builder: Builder): void {
  builder.objectType('DeadLetter', {
    description: 'A message that could not be stored, with its original bytes.',
    fields: (t) => ({
      id: t.id({
        description: 'For `replayDeadLetters`. Grows with the time of storing.',
        resolve: ({ id }) => String(id),
      }),
      topic: t.exposeString('topic', {
        nullable: true,
        description: 'The MQTT topic; null where none could be read.',
      }),
      reason: t.exposeString('reason', { description: 'A stable code: `BAD_JSON`.' }),
      detail: t.exposeString('detail', { description: 'What was wrong, and what is accepted.' }),
      time: t.field({
        type: 'DateTime',
        description: 'When it arrived in the log.',
        resolve: ({ arrivalTime }) => arrivalTime,
      }),
      payload: t.string({
        description: 'The bytes as they were sent, in base64.',
        resolve: ({ payload }) => Buffer.from(payload).toString('base64'),
      }),
      logTopic: t.exposeString('logTopic', { description: 'Topic of the log that it came from.' }),
      partition: t.exposeInt('partition', { description: 'Partition of the log.' }),
      offset: t.expose('offset', { type: 'SafeInt', description: 'Offset in that partition.' }),
      replayedAt: t.expose('replayedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it was last put back into the log; null where it never was.',
      }),
      replayedBy: t.exposeString('replayedBy', {
        nullable: true,
        description: 'Who put it back.',
      }),
    }),
  });
  defineList(builder);
  defineCounts(builder);
  defineReplay(builder);
}

function defineList(builder: Builder): void {
  const Connection = connectionType(builder, 'DeadLetter');
  builder.queryField('deadLetters', (t) =>
    t.field({
      type: Connection,
      nullable: true,
      description: 'The newest first. Operators only.',
      args: {
        first: t.arg.int({ defaultValue: 50, description: 'Entries of the page, 1 to 1,000.' }),
        after: t.arg.string({ description: '`endCursor` of the page before.' }),
        reason: t.arg.string({ description: REASON }),
        topic: t.arg.string({ description: TOPIC }),
        replayed: t.arg.boolean({
          description: 'Only those that were put back into the log, or only those that were not.',
        }),
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
              replayed: args.replayed ?? null,
              limit,
            }),
        });
      },
    }),
  );
}

function defineCounts(builder: Builder): void {
  builder.objectType('DeadLetterCount', {
    description: 'How many stored dead letters have one reason.',
    fields: (t) => ({
      reason: t.exposeString('reason', { description: 'As `DeadLetter.reason`.' }),
      count: t.exposeInt('count', { description: 'All of them.' }),
      replayed: t.exposeInt('replayed', {
        description: 'Those of them that were put back into the log.',
      }),
    }),
  });
  builder.queryField('deadLetterCounts', (t) =>
    t.field({
      type: ['DeadLetterCount'],
      nullable: true,
      description: 'Dead letters by reason, the most frequent first. Operators only.',
      resolve: (_, __, context) => {
        requireOperator(context);
        return countDeadLetters(context.sql);
      },
    }),
  );
}

const MAX_IDS = 1_000;

function defineReplay(builder: Builder): void {
  builder.objectType('ReplayResult', {
    description: 'What became of a replay of dead letters.',
    fields: (t) => ({
      matched: t.exposeInt('matched', { description: 'Dead letters that it took up.' }),
      replayed: t.exposeInt('replayed', {
        description: 'Of them, those that are back in the log. What fails again is a new one.',
      }),
      failed: t.exposeInt('failed', {
        description: 'Of them, those that are not: they stay as they were.',
      }),
      problem: t.exposeString('problem', {
        nullable: true,
        description: 'Why the first of the failed ones is not.',
      }),
      more: t.exposeBoolean('more', {
        description: 'Whether it stopped at its bound, 10,000 at a time: there may be more.',
      }),
    }),
  });
  builder.mutationField('replayDeadLetters', (t) =>
    t.field({
      type: 'ReplayResult',
      nullable: true,
      description:
        'Puts dead letters back into the log, their bytes under the topic and key that they had. ' +
        'Those that were put back before are left out, unless they are named by id. Operators only.',
      args: {
        ids: t.arg.idList({ description: `Only these, at most ${MAX_IDS}; also a second time.` }),
        reason: t.arg.string({ description: REASON }),
        topic: t.arg.string({ description: TOPIC }),
      },
      resolve: (_, { ids, reason = null, topic = null }, context) => {
        requireOperator(context);
        const choice = { ids: ids ? ids.map(letterId) : null, reason, topic };
        if (choice.ids === null && reason === null && topic === null) {
          throw badArgument('', 'name what to replay: ids, a reason or a topic');
        }
        if ((choice.ids?.length ?? 0) > MAX_IDS) {
          throw badArgument('ids', `at most ${MAX_IDS} at once; name a reason or a topic for more`);
        }
        return createDeadLetterReplay(context)(choice, actorOf(context));
      },
    }),
  );
}

/** @throws BAD_USER_INPUT for what is no id of a dead letter */
function letterId(text: string | number, index: number): number {
  const id = Number(text);
  if (/^\d{1,15}$/.test(String(text))) return id;
  throw badArgument(`ids.${index}`, `${JSON.stringify(text)} is not the id of a dead letter`);
}
