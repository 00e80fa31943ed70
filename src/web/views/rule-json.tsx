import { useState } from 'preact/hooks';
import { inputOf } from '../state/rules.ts';
import type { RuleInput } from '../state/types.ts';

/** The same rule as the API takes it; edited here, the form follows. */
export function RuleJson(props: { draft: RuleInput; onDraft: (draft: RuleInput) => void }) {
  const [text, setText] = useState<string | null>(null);
  const [fault, setFault] = useState('');
  const shown = text ?? JSON.stringify(inputOf(props.draft), null, 2);
  const edit = (value: string) => {
    setText(value);
    try {
      const parsed: unknown = JSON.parse(value);
      const isObject = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
      if (!isObject) throw new Error('a rule is an object: { … }');
      setFault('');
      props.onDraft({ message: '', ...parsed });
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
    }
  };
  const leave = () => {
    if (fault === '') setText(null);
  };
  return (
    <label class="field">
      <span>
        JSON, as <code>upsertRule</code> takes it
      </span>
      <textarea
        class="code"
        rows={Math.min(Math.max(shown.split('\n').length + 1, 6), 16)}
        spellcheck={false}
        value={shown}
        aria-invalid={fault !== ''}
        onInput={({ currentTarget }) => edit(currentTarget.value)}
        onBlur={leave}
      />
      {fault !== '' && <span class="fault">{fault}</span>}
    </label>
  );
}
