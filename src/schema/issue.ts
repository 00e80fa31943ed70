import type { Builder } from './builder.ts';

export function defineIssue(builder: Builder): void {
  builder.objectType('Issue', {
    description: 'A fault in what a user wrote.',
    fields: (t) => ({
      path: t.exposeString('path', { description: 'Dotted: `rules.2.operator`.' }),
      message: t.exposeString('message', { description: 'What is wrong, and what to write.' }),
    }),
  });
}
