import { useEffect, useState } from 'preact/hooks';
import { Act, Empty, Notice, Panel, SeverityBadge } from '../components/bits.tsx';
import { PickUser } from '../components/pick-user.tsx';
import { request, wordsOf } from '../state/api.ts';
import { enableRule, rules as rulesDocument, setShorthand } from '../state/documents.ts';
import { shortTime, sign } from '../state/format.ts';
import { poll } from '../state/live.ts';
import { shorthandFields } from '../state/model.ts';
import { linkTo } from '../state/router.ts';
import { conditionOf, type Shorthand, shorthandsOf } from '../state/rules.ts';
import { userId } from '../state/session.ts';
import type { Rule, RuleSet } from '../state/types.ts';
import { RuleEditor } from './rule-editor.tsx';
import { RuleHistory } from './rule-history.tsx';

const RULES_MS = 5_000;

export function RulesView({ selected }: { selected: string | null }) {
  const user = userId.value;
  const [ruleSet, setRuleSet] = useState<RuleSet | null>(null);
  const [fault, setFault] = useState('');
  const read = async () => {
    try {
      type Answer = { user: { ruleSet: RuleSet } | null };
      const answer = await request<Answer>(rulesDocument(shorthandFields), { userId: user });
      setRuleSet(answer.user?.ruleSet ?? NO_RULES);
      setFault('');
    } catch (error) {
      setFault(wordsOf(error));
    }
  };
  useEffect(() => (user === null ? undefined : poll(read, RULES_MS)), [user]);
  if (user === null) return <PickUser what="rules" />;
  const shown = ruleSet?.rules.find(({ ruleId }) => ruleId === selected);
  return (
    <>
      <h1 class="hidden">Rules of {user}</h1>
      {fault !== '' && <Notice kind="bad">{fault}</Notice>}
      {ruleSet !== null && (
        <div class={`split ${selected === null ? '' : 'has-detail'}`}>
          <div class="list">
            <RuleList user={user} ruleSet={ruleSet} selected={selected} onChange={setRuleSet} />
            <RuleHistory user={user} version={ruleSet.version} />
          </div>
          {selected !== null && (shown !== undefined || selected === 'new') && (
            <RuleEditor
              key={selected}
              user={user}
              rule={shown ?? null}
              ruleSet={ruleSet}
              onChange={setRuleSet}
              reload={read}
            />
          )}
        </div>
      )}
    </>
  );
}

const NO_RULES = { version: 0, updatedAt: '', updatedBy: '', issues: [], rules: [] } as RuleSet;

interface ListProps {
  user: string;
  ruleSet: RuleSet;
  selected: string | null;
  onChange: (ruleSet: RuleSet) => void;
}

function RuleList({ user, ruleSet, selected, onChange }: ListProps) {
  const { version, updatedBy, updatedAt, issues, rules } = ruleSet;
  const changed =
    version === 0 ? 'none yet' : `version ${version} by ${updatedBy}, ${shortTime(updatedAt)}`;
  return (
    <Panel
      title="Rules"
      aside={
        <>
          <span class="hint">{changed}</span>
          <a class="button primary" href={linkTo('rules', 'new')}>
            New rule
          </a>
        </>
      }
    >
      {issues.length > 0 && (
        <Notice kind="bad">
          A newer version was refused, and this one stays in force:
          <ul>
            {issues.map(({ path, message }) => (
              <li key={path}>
                <code>{path}</code> {message}
              </li>
            ))}
          </ul>
        </Notice>
      )}
      <ul class="rule-list">
        {shorthandsOf(ruleSet).map((shorthand) => (
          <ShorthandRow key={shorthand.field} {...{ user, shorthand, version, onChange }} />
        ))}
        {rules.map((rule) => (
          <RuleRow
            key={rule.ruleId}
            {...{ user, rule, onChange }}
            isSelected={rule.ruleId === selected}
          />
        ))}
      </ul>
      {rules.length === 0 && (
        <Empty title="No rules of its own yet">
          <p>A rule says when an alert fires. While you write it, it is tried on the last days.</p>
        </Empty>
      )}
    </Panel>
  );
}

interface RowProps {
  user: string;
  rule: Rule;
  isSelected: boolean;
  onChange: (ruleSet: RuleSet) => void;
}

function RuleRow({ user, rule, isSelected, onChange }: RowProps) {
  const enabled = rule.enabled !== false;
  const toggle = async () => {
    type Answer = { setRuleEnabled: RuleSet };
    const variables = { userId: user, ruleId: rule.ruleId, enabled: !enabled };
    const answer = await request<Answer>(enableRule(shorthandFields), variables);
    onChange(answer.setRuleEnabled);
  };
  return (
    <li class={`${isSelected ? 'selected' : ''} ${enabled ? '' : 'dim'}`}>
      <SeverityBadge severity={rule.severity ?? 'WARNING'} />
      <span class="rule-words">
        <a href={linkTo('rules', rule.ruleId)}>{conditionOf(rule)}</a>
        <span class="hint">
          {rule.devices ? `${rule.devices}: ` : ''}
          {rule.message}
        </span>
      </span>
      <Act class="small" run={toggle}>
        {enabled ? 'Turn off' : 'Turn on'}
        <span class="hidden"> {rule.ruleId}</span>
      </Act>
    </li>
  );
}

interface ShorthandProps {
  user: string;
  shorthand: Shorthand;
  version: number;
  onChange: (ruleSet: RuleSet) => void;
}

/** A rule of one number, like temperature_max. */
function ShorthandRow({ user, shorthand, version, onChange }: ShorthandProps) {
  const { field, name, key, operator, value } = shorthand;
  const [text, setText] = useState<string | null>(null);
  const shown = text ?? (value === null ? '' : String(value));
  const save = async () => {
    const number = shown.trim() === '' ? null : Number(shown);
    const variables = { userId: user, value: number, expectedVersion: version };
    type Answer = { setRules: RuleSet };
    const answer = await request<Answer>(setShorthand(shorthandFields, field), variables);
    setText(null);
    onChange(answer.setRules);
  };
  return (
    <li>
      <label class="shorthand">
        <span class="rule-words">
          {name}
          <span class="hint">
            fires where {key} {sign(operator)} this; empty: never
          </span>
        </span>
        <input
          class="narrow"
          inputMode="decimal"
          value={shown}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
      </label>
      <Act class="small" run={save} disabled={text === null}>
        Save
      </Act>
    </li>
  );
}
