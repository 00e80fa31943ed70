import { useEffect, useState } from 'preact/hooks';
import { Act, Panel } from '../components/bits.tsx';
import { request } from '../state/api.ts';
import { history } from '../state/documents.ts';
import { dateTime } from '../state/format.ts';
import { fieldName, model, shorthandFields } from '../state/model.ts';
import type { Issue, Page } from '../state/types.ts';

interface Change {
  version: number;
  kind: string;
  actor: string;
  changedAt: string;
  rules: { id: string }[] | null;
  issues: Issue[];
  [shorthand: string]: unknown;
}

/** Who changed what, the newest first. */
export function RuleHistory({ user, version }: { user: string; version: number }) {
  const [changes, setChanges] = useState<Change[]>([]);
  const [after, setAfter] = useState<string | null>(null);
  const read = async (cursor: string | null) => {
    type Answer = { user: { ruleChanges: Page<Change> } | null };
    const variables = { userId: user, after: cursor };
    const answer = await request<Answer>(history(shorthandFields), variables);
    if (answer.user === null) return;
    const { nodes, pageInfo } = answer.user.ruleChanges;
    setChanges((known) => (cursor === null ? nodes : [...known, ...nodes]));
    setAfter(pageInfo.hasNextPage ? pageInfo.endCursor : null);
  };
  useEffect(() => {
    read(null).catch(() => {});
  }, [user, version]);
  if (changes.length === 0) return null;
  return (
    <Panel title="History">
      <ol class="history">
        {changes.map((change, at) => (
          <li key={change.version}>
            <p>
              <strong>Version {change.version}</strong>{' '}
              <span class="badge">{change.kind.toLowerCase()}</span>{' '}
              <span class="hint">
                by {change.actor}, {dateTime(change.changedAt)}
              </span>
            </p>
            <p class="hint">
              {at + 1 < changes.length || after === null
                ? differences(change, changes[at + 1] ?? null)
                : ''}
            </p>
            {change.issues.map(({ path, message }) => (
              <p key={path} class="fault">
                <code>{path}</code> {message}
              </p>
            ))}
            <details>
              <summary>
                JSON<span class="hidden"> of version {change.version}</span>
              </summary>
              <pre class="json">{JSON.stringify(change.rules, null, 2)}</pre>
            </details>
          </li>
        ))}
      </ol>
      {after !== null && (
        <div class="actions">
          <Act run={() => read(after)}>Older ones</Act>
        </div>
      )}
    </Panel>
  );
}

function differences(change: Change, before: Change | null): string {
  if (change.kind === 'DELETED') return 'all rules deleted';
  const [now, then] = [byId(change), byId(before)];
  const words = [...now].flatMap(([id, json]) => {
    if (!then.has(id)) return [`${id} added`];
    return then.get(id) === json ? [] : [`${id} changed`];
  });
  for (const id of then.keys()) if (!now.has(id)) words.push(`${id} removed`);
  for (const name of Object.keys(model.shorthands)) {
    const [value, old] = [change[fieldName(name)], before?.[fieldName(name)]];
    if ((value ?? null) !== (old ?? null)) words.push(`${name} ${value ?? 'taken away'}`);
  }
  return words.join(', ') || `${now.size} ${now.size === 1 ? 'rule' : 'rules'}`;
}

function byId(change: Change | null): Map<string, string> {
  return new Map((change?.rules ?? []).map((rule) => [rule.id, JSON.stringify(rule)]));
}
