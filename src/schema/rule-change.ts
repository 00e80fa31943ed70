import type { Model } from '../domain/model.ts';
import { fieldName } from '../domain/model-names.ts';
import {
  type RuleChange,
  type RuleChangesPage,
  ruleChangesPages,
} from '../store/rule-changes-page.ts';
import type { Builder } from './builder.ts';
import { connectionType, page, pageComplexity } from './connection.ts';
import { badArgument } from './errors.ts';
import { requestListLoader } from './request-loader.ts';

/** Each may hold 64 KiB of rules. */
const MAX_FIRST = 100;

export function defineRuleChange(builder: Builder, model: Model): void {
  const Kind = builder.enumType('RuleChangeKind', {
    description: 'What became of a version of the rules.',
    values: {
      ACCEPTED: { description: 'It came into force.' },
      REFUSED: { description: 'It had faults, and the version before stayed in force.' },
      WRITTEN: {
        description: 'Written by SQL, and not looked at: just now, or replaced before it was.',
      },
      DELETED: { description: 'All rules were deleted.' },
    },
  });
  builder.objectType('RuleChange', {
    description: 'A version of the rules: who wrote what and when, and what became of it.',
    fields: (t) => ({
      version: t.exposeInt('version', { description: 'As in RuleSet.version.' }),
      kind: t.field({ type: Kind, description: 'What became of it.', resolve: kindOf }),
      actor: t.exposeString('actor', {
        description: 'Who: a user, `operator`, `mqtt`, or `sql` unless that named somebody.',
      }),
      changedAt: t.expose('changedAt', { type: 'DateTime', description: 'When it was written.' }),
      rules: t.field({
        type: 'JSON',
        nullable: true,
        description:
          'As written, with their ids, also those that are not enabled; null for DELETED and for ' +
          'what is too large to be shown.',
        resolve: ({ content }) => content?.rules,
      }),
      disabled: t.field({
        type: 'JSON',
        nullable: true,
        description: 'Rules that are off on some devices, and shorthands that are off.',
        resolve: ({ content }) => content?.disabled,
      }),
      issues: t.field({
        type: ['Issue'],
        description: 'Faults for which it was refused.',
        resolve: ({ issues }) => issues ?? [],
      }),
    }),
  });
  for (const name of Object.keys(model.shorthands)) {
    builder.objectField('RuleChange', fieldName(name), (t) =>
      t.float({
        nullable: true,
        description: 'Null where it is not set.',
        // SQL may have written NaN, which JSON has as text.
        resolve: ({ content }) => {
          const value = content?.[name];
          return typeof value === 'number' ? value : null;
        },
      }),
    );
  }
  defineList(builder);
}

const changesLoader = requestListLoader<{ userId: string }, RuleChange, RuleChangesPage>(
  (users, asked, { sql }) =>
    ruleChangesPages(
      sql,
      users.map(({ userId }) => userId),
      asked,
    ),
  ({ userId }) => userId,
);

function defineList(builder: Builder): void {
  const Connection = connectionType(builder, 'RuleChange');
  builder.objectField('User', 'ruleChanges', (t) =>
    t.field({
      type: Connection,
      description:
        'Every version of the rules within its retention, whatever way it came, the newest first.',
      args: {
        first: t.arg.int({ defaultValue: 50, description: `At most ${MAX_FIRST}.` }),
        after: t.arg.string({ description: 'endCursor of the page before.' }),
      },
      complexity: pageComplexity,
      resolve: async (user, args, context) => {
        if ((args.first ?? 0) > MAX_FIRST) {
          throw badArgument('first', `a page has at most ${MAX_FIRST} versions here`);
        }
        return await page<RuleChange, [number]>(args, {
          key: (change) => [change.version],
          shape: ['number'],
          fetch: (after, limit) =>
            changesLoader(context, { before: after?.[0] ?? null, limit }).load({ userId: user.id }),
        });
      },
    }),
  );
}

function kindOf({ isDeletion, issues }: RuleChange) {
  if (isDeletion) return 'DELETED';
  if (issues === null) return 'WRITTEN';
  return issues.length > 0 ? 'REFUSED' : 'ACCEPTED';
}
