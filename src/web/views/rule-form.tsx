import { Notice } from '../components/bits.tsx';
import { Field, TextField, ValueField } from '../components/fields.tsx';
import { declaredKeys, model } from '../state/model.ts';
import type { Issue, Operator, RuleInput, Severity } from '../state/types.ts';

interface FormProps {
  draft: RuleInput;
  issues: readonly Issue[];
  onDraft: (draft: RuleInput) => void;
}

const OPERATORS: readonly [Operator, string][] = [
  ['GT', '> above'],
  ['GTE', '≥ at least'],
  ['LT', '< below'],
  ['LTE', '≤ at most'],
  ['EQ', '= equal'],
  ['NE', '≠ other than'],
];
const FIELDS = [
  ...[
    'ruleId',
    'kind',
    'key',
    'operator',
    'threshold',
    'for',
    'clear',
    'clear.threshold',
    'clear.for',
  ],
  ...['noData', 'severity', 'message', 'devices', 'enabled'],
];

export function RuleForm({ draft, issues, onDraft }: FormProps) {
  const isSilence = draft.kind === 'NO_DATA';
  const set = (fields: Partial<RuleInput>) => onDraft({ ...draft, ...fields });
  const of = (path: string) => issues.filter((issue) => issue.path === path);
  const others = issues.filter(({ path }) => !FIELDS.includes(path));
  const choose = (kind: 'THRESHOLD' | 'NO_DATA') =>
    onDraft(
      kind === 'NO_DATA'
        ? {
            ...draft,
            kind,
            noData: draft.noData ?? 'PT10M',
            key: null,
            operator: null,
            threshold: null,
            for: null,
            clear: null,
          }
        : { ...draft, kind: null, noData: null, operator: 'GT' },
    );
  return (
    <form class="form" onSubmit={(event) => event.preventDefault()}>
      {others.map(({ path, message }) => (
        <Notice key={path + message} kind="bad">
          {path} {message}
        </Notice>
      ))}
      <Field title="Fires when" isWide issues={of('kind')}>
        <select
          value={isSilence ? 'NO_DATA' : 'THRESHOLD'}
          onChange={({ currentTarget }) => choose(currentTarget.value as 'THRESHOLD' | 'NO_DATA')}
        >
          <option value="THRESHOLD">a value crosses a threshold</option>
          <option value="NO_DATA">a device is silent</option>
        </select>
      </Field>
      {isSilence ? (
        <TextField
          title="Silent for"
          hint="10m, PT10M"
          value={draft.noData}
          issues={of('noData')}
          onText={(noData) => set({ noData })}
        />
      ) : (
        <Threshold draft={draft} of={of} set={set} />
      )}
      <Field title="Severity" issues={of('severity')}>
        <select
          value={draft.severity ?? 'WARNING'}
          onChange={({ currentTarget }) => set({ severity: currentTarget.value as Severity })}
        >
          <option value="INFO">Info</option>
          <option value="WARNING">Warning</option>
          <option value="CRITICAL">Critical</option>
        </select>
      </Field>
      <TextField
        title="Devices"
        hint="pump_*; empty: all"
        value={draft.devices}
        issues={of('devices')}
        onText={(devices) => set({ devices })}
      />
      <TextField
        title="Message"
        isWide
        hint="{value} {threshold} {key} {device_id}"
        value={draft.message}
        issues={of('message')}
        onText={(message) => set({ message: message ?? '' })}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={draft.enabled !== false}
          onChange={({ currentTarget }) => set({ enabled: currentTarget.checked ? null : false })}
        />
        Enabled
      </label>
    </form>
  );
}

interface ThresholdProps {
  draft: RuleInput;
  of: (path: string) => Issue[];
  set: (fields: Partial<RuleInput>) => void;
}

function Threshold({ draft, of, set }: ThresholdProps) {
  const clear = draft.clear ?? {};
  return (
    <>
      <TextField
        title="Key"
        hint="temperature, engine.rpm"
        list={declaredKeys}
        value={draft.key}
        issues={of('key')}
        onText={(key) => set({ key })}
      />
      <Field title="Operator" issues={of('operator')}>
        <select
          value={draft.operator ?? ''}
          onChange={({ currentTarget }) => set({ operator: currentTarget.value as Operator })}
        >
          {OPERATORS.map(([operator, words]) => (
            <option key={operator} value={operator}>
              {words}
            </option>
          ))}
        </select>
      </Field>
      <ValueField
        title="Threshold"
        list={model.columns[draft.key ?? '']?.values}
        value={draft.threshold}
        issues={of('threshold')}
        onValue={(threshold) => set({ threshold })}
      />
      <TextField
        title="Held for"
        hint="5m; empty: at once"
        value={draft.for}
        issues={of('for')}
        onText={(held) => set({ for: held })}
      />
      <ValueField
        title="Clears at"
        hint="empty: at the threshold"
        value={clear.threshold}
        issues={[...of('clear'), ...of('clear.threshold')]}
        onValue={(threshold) => set({ clear: { ...clear, threshold } })}
      />
      <TextField
        title="Clear for"
        hint="1m; empty: at once"
        value={clear.for}
        issues={of('clear.for')}
        onText={(held) => set({ clear: { ...clear, for: held } })}
      />
    </>
  );
}
