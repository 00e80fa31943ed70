import { useState } from 'preact/hooks';
import { Act, Notice } from '../components/bits.tsx';
import { ApiError, request } from '../state/api.ts';
import { deleteRule, upsertRule } from '../state/documents.ts';
import { shorthandFields } from '../state/model.ts';
import { go, linkTo } from '../state/router.ts';
import { conditionOf, inputOf } from '../state/rules.ts';
import type { Issue, Rule, RuleInput, RuleSet } from '../state/types.ts';
import { RuleBacktest } from './rule-backtest.tsx';
import { RuleForm } from './rule-form.tsx';
import { RuleJson } from './rule-json.tsx';

const NEW_RULE: RuleInput = {
  operator: 'GT',
  severity: 'WARNING',
  message: '{device_id}: {key} is {value}',
};

interface EditorProps {
  user: string;
  /** Null for a new one. */
  rule: Rule | null;
  ruleSet: RuleSet;
  onChange: (ruleSet: RuleSet) => void;
  /** Reads what is in force. */
  reload: () => Promise<void>;
}

/** The server's words by the path in the rule: `clear.threshold`; what fits no field is under ''. */
export function issuesOf(error: unknown): Issue[] {
  if (!(error instanceof ApiError)) return [];
  const { issues, code, message } = error;
  if (code !== 'BAD_USER_INPUT') return [];
  // GraphQL's own words for a duration or an enum that is none name the path in the text.
  const [, path, words] = /at "rule\.([\w.]+)"; (.*)$/s.exec(message) ?? [];
  if (path !== undefined && words !== undefined) return [{ path, message: words }];
  return issues.map((issue) => ({ ...issue, path: issue.path.replace(/^rule\.?/, '') }));
}

export function RuleEditor({ user, rule, ruleSet, onChange, reload }: EditorProps) {
  const [draft, setDraft] = useState<RuleInput>(() => inputOf(rule ?? NEW_RULE));
  /** The version that the draft was begun on: another one in force is a conflict. */
  const [base, setBase] = useState(ruleSet.version);
  const [isConflict, setConflict] = useState(false);
  const [refused, setRefused] = useState<Issue[]>([]);
  const [tried, setTried] = useState<Issue[]>([]);
  const [saved, setSaved] = useState(false);

  const edit = (next: RuleInput) => {
    setDraft(next);
    setRefused([]);
    setSaved(false);
  };
  const run = async (document: string, variables: object, expectedVersion: number) => {
    setRefused([]);
    try {
      const all = { userId: user, expectedVersion, ...variables };
      const answer = await request<Record<string, RuleSet>>(document, all);
      const [changed] = Object.values(answer);
      if (changed === undefined) return;
      setBase(changed.version);
      setConflict(false);
      onChange(changed);
    } catch (error) {
      const issues = issuesOf(error);
      setRefused(issues);
      if (error instanceof ApiError && error.code === 'CONFLICT') {
        setConflict(true);
        await reload();
      } else if (issues.length === 0) throw error;
      return false;
    }
    return true;
  };
  const ruleId = draft.ruleId ?? rule?.ruleId;
  const save = async (version: number) => {
    const isSaved = await run(upsertRule(shorthandFields), { rule: { ...draft, ruleId } }, version);
    if (isSaved !== true) return;
    setSaved(true);
    if (rule === null) go('rules');
  };
  const remove = async () => {
    const ok = await run(deleteRule(shorthandFields), { ruleId: rule?.ruleId }, base);
    if (ok === true) go('rules');
  };
  const issues = refused.length > 0 ? refused : tried;
  return (
    <article class="panel detail" aria-label="Rule">
      <a class="close" href={linkTo('rules')}>
        Close
      </a>
      <header>
        <h2>{rule === null ? 'New rule' : rule.ruleId}</h2>
        <p class="hint">{conditionOf(draft)}</p>
      </header>
      {isConflict && (
        <Conflict
          theirs={rule}
          ruleSet={ruleSet}
          onTakeTheirs={() => {
            edit(inputOf(rule ?? NEW_RULE));
            setBase(ruleSet.version);
            setConflict(false);
          }}
          onKeepMine={() => save(ruleSet.version)}
        />
      )}
      <RuleForm draft={draft} issues={issues} onDraft={edit} />
      <div class="actions">
        <Act class="primary" run={() => save(base)}>
          {rule === null ? 'Create rule' : 'Save'}
        </Act>
        {rule !== null && (
          <Act class="danger" run={remove}>
            Delete
          </Act>
        )}
        {saved && <span role="status">Saved as version {base}.</span>}
      </div>
      <RuleBacktest user={user} draft={draft} onIssues={setTried} />
      <RuleJson draft={draft} onDraft={edit} />
    </article>
  );
}

interface ConflictProps {
  theirs: Rule | null;
  ruleSet: RuleSet;
  onTakeTheirs: () => void;
  onKeepMine: () => Promise<void>;
}

/** Nothing is lost: the draft stands until one of the two is chosen. */
function Conflict({ theirs, ruleSet, onTakeTheirs, onKeepMine }: ConflictProps) {
  return (
    <Notice kind="bad">
      <p>
        The rules were changed while you wrote: version {ruleSet.version} by {ruleSet.updatedBy} is
        in force. Yours is not saved yet.
      </p>
      {theirs !== null && <pre class="json">{JSON.stringify(inputOf(theirs), null, 2)}</pre>}
      <div class="actions">
        <button type="button" onClick={onTakeTheirs}>
          Take theirs
        </button>
        <Act run={onKeepMine}>Save mine over it</Act>
      </div>
    </Notice>
  );
}
