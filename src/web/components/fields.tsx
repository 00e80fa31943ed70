import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Issue } from '../state/types.ts';

export function Field(props: {
  title: string;
  issues: readonly Issue[];
  isWide?: boolean;
  children: ComponentChildren;
}) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is among its children
    <label class={`field ${props.isWide ? 'wide' : ''}`}>
      {props.title}
      {props.children}
      {props.issues.map(({ message }) => (
        <span key={message} class="fault" role="alert">
          {message}
        </span>
      ))}
    </label>
  );
}

interface TextProps {
  title: string;
  hint?: string;
  isWide?: boolean;
  list?: readonly string[];
  value: string | null | undefined;
  issues: readonly Issue[];
  onText: (text: string | null) => void;
}

export function TextField({ title, hint, isWide, list, value, issues, onText }: TextProps) {
  const listId = list === undefined ? undefined : `list-${title}`;
  return (
    <Field title={title} issues={issues} isWide={isWide}>
      <input
        value={value ?? ''}
        placeholder={hint}
        list={listId}
        spellcheck={false}
        aria-invalid={issues.length > 0}
        onInput={({ currentTarget }) =>
          onText(currentTarget.value === '' ? null : currentTarget.value)
        }
      />
      {list !== undefined && (
        <datalist id={listId}>
          {list.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
      )}
    </Field>
  );
}

interface ValueProps {
  title: string;
  hint?: string;
  list?: readonly string[];
  value: unknown;
  issues: readonly Issue[];
  onValue: (value: unknown) => void;
}

/** A number, true, false, or else text; what is typed stays as it is while it is typed. */
export function ValueField({ title, hint, list, value, issues, onValue }: ValueProps) {
  const [text, setText] = useState('');
  useEffect(() => {
    setText((known) =>
      same(typedValue(known), value) ? known : value == null ? '' : String(value),
    );
  }, [value]);
  const edit = (typed: string | null) => {
    setText(typed ?? '');
    onValue(typedValue(typed ?? ''));
  };
  return <TextField {...{ title, hint, list, issues }} value={text} onText={edit} />;
}

const same = (a: unknown, b: unknown) => (a ?? null) === (b ?? null);

function typedValue(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  if (trimmed === 'true' || trimmed === 'false') return trimmed === 'true';
  return Number.isNaN(Number(trimmed)) ? trimmed : Number(trimmed);
}
