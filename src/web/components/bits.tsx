import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { wordsOf } from '../state/api.ts';
import type { Severity } from '../state/types.ts';

/** A word with a colour and a shape of its own, so that none is told by colour alone. */
export function SeverityBadge({ severity }: { severity: Severity }) {
  return (
    <span class={`badge ${severity.toLowerCase()}`}>
      <svg viewBox="0 0 10 10" aria-hidden="true">
        {severity === 'CRITICAL' && <path d="M5 0 10 5 5 10 0 5z" />}
        {severity === 'WARNING' && <path d="M5 1 10 9H0z" />}
        {severity === 'INFO' && <circle cx="5" cy="5" r="4" />}
      </svg>
      {severity.charAt(0) + severity.slice(1).toLowerCase()}
    </span>
  );
}

export function Notice({
  kind,
  children,
}: {
  kind: 'bad' | 'good' | 'plain';
  children: ComponentChildren;
}) {
  return (
    <div class={`notice ${kind}`} role={kind === 'bad' ? 'alert' : 'status'}>
      {children}
    </div>
  );
}

/** What stands where there is nothing yet, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Panel(props: {
  title: string;
  aside?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}) {
  return (
    <section class={`panel ${props.class ?? ''}`}>
      <header class="panel-head">
        <h2>{props.title}</h2>
        {props.aside}
      </header>
      {props.children}
    </section>
  );
}

/** A line for a shell, to be taken as it is. */
export function Command({ text }: { text: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    setCopied(true);
  };
  return (
    <div class="command">
      <code>{text}</code>
      <button type="button" class="small" onClick={() => void copy()}>
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}

/** A button that is busy while it works, and says beside it why it could not. */
export function Act(props: {
  run: () => Promise<unknown>;
  children: ComponentChildren;
  class?: string;
  disabled?: boolean;
}) {
  const [isBusy, setBusy] = useState(false);
  const [fault, setFault] = useState('');
  const click = async () => {
    setBusy(true);
    setFault('');
    try {
      await props.run();
    } catch (error) {
      setFault(wordsOf(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button
        type="button"
        class={props.class}
        disabled={isBusy || props.disabled}
        onClick={() => void click()}
      >
        {props.children}
      </button>
      {fault !== '' && (
        <span class="fault" role="alert">
          {fault}
        </span>
      )}
    </>
  );
}

/** Names and values in two columns. */
export function Facts({ rows }: { rows: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export const LOADTEST = `npm run loadtest -- --rate 200 --duration 30${
  location.port === '4000' ? '' : ` --url ${location.origin}/graphql`
}`;
