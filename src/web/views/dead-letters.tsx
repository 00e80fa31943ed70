import { useEffect, useMemo, useState } from 'preact/hooks';
import { Act, Command, Empty, Facts, LOADTEST, Notice } from '../components/bits.tsx';
import { request, wordsOf } from '../state/api.ts';
import { DEAD_LETTERS, REPLAY } from '../state/documents.ts';
import { dateTime, number } from '../state/format.ts';
import { deadLetters, loadDeadLetterCounts } from '../state/ingest.ts';
import type { DeadLetter, Page } from '../state/types.ts';

interface Replayed {
  matched: number;
  replayed: number;
  failed: number;
  more: boolean;
  problem: string | null;
}

export function DeadLettersView() {
  const [reason, setReason] = useState<string | null>(null);
  const [letters, setLetters] = useState<DeadLetter[] | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const [fault, setFault] = useState('');
  const [outcome, setOutcome] = useState<Replayed | null>(null);
  const total = deadLetters.value.reduce((sum, { count }) => sum + count, 0);

  const read = async (cursor: string | null) => {
    try {
      const answer = await request<{ deadLetters: Page<DeadLetter> | null }>(DEAD_LETTERS, {
        reason,
        after: cursor,
      });
      const { nodes, pageInfo } = answer.deadLetters ?? NONE;
      setLetters((known) => (cursor === null ? nodes : [...(known ?? []), ...nodes]));
      setAfter(pageInfo.hasNextPage ? pageInfo.endCursor : null);
      setFault('');
    } catch (error) {
      setFault(wordsOf(error));
    }
  };
  useEffect(() => void read(null), [reason, total]);
  const replay = async (variables: { ids: string[] } | { reason: string | null }) => {
    const answer = await request<{ replayDeadLetters: Replayed }>(REPLAY, variables);
    setOutcome(answer.replayDeadLetters);
    await Promise.all([read(null), loadDeadLetterCounts()]);
  };
  return (
    <section class="panel">
      <header class="panel-head">
        <h1>Dead letters</h1>
        <span class="hint">messages that could not be stored, with their bytes</span>
        {total > 0 && (
          <Act run={() => replay({ reason })}>
            Replay {reason === null ? 'all' : `all ${reason}`}
          </Act>
        )}
      </header>
      {fault !== '' && <Notice kind="bad">{fault}</Notice>}
      {outcome !== null && <Outcome {...outcome} />}
      <Reasons chosen={reason} onChoose={setReason} />
      <ul class="letters">
        {(letters ?? []).map((letter) => (
          <Letter key={letter.id} letter={letter} replay={() => replay({ ids: [letter.id] })} />
        ))}
      </ul>
      {after !== null && (
        <div class="actions">
          <Act run={() => read(after)}>Older ones</Act>
        </div>
      )}
      {letters?.length === 0 && (
        <Empty title="No dead letters">
          <p>
            A message that is no JSON, or has a value out of its range, would be kept here. To see
            messages flow:
          </p>
          <Command text={LOADTEST} />
        </Empty>
      )}
    </section>
  );
}

const NONE: Page<DeadLetter> = { nodes: [], pageInfo: { hasNextPage: false, endCursor: null } };

function Outcome({ matched, replayed, failed, more, problem }: Replayed) {
  const words =
    matched === 0
      ? 'There is none that was not replayed before.'
      : `${number(replayed)} of ${number(matched)} are back in the log; what fails again comes here as a new one.`;
  return (
    <Notice kind={failed > 0 ? 'bad' : 'good'}>
      {words}
      {failed > 0 && ` ${number(failed)} are not: ${problem}.`}
      {more && ' There may be more: replay again.'}
    </Notice>
  );
}

function Reasons(props: { chosen: string | null; onChoose: (reason: string | null) => void }) {
  if (deadLetters.value.length === 0) return null;
  return (
    <fieldset class="chips" aria-label="Reasons">
      {deadLetters.value.map(({ reason, count, replayed }) => (
        <button
          type="button"
          class="chip"
          key={reason}
          aria-pressed={props.chosen === reason}
          onClick={() => props.onChoose(props.chosen === reason ? null : reason)}
        >
          {reason} {number(count)}
          {replayed > 0 && `, ${number(replayed)} replayed`}
        </button>
      ))}
    </fieldset>
  );
}

function Letter({ letter, replay }: { letter: DeadLetter; replay: () => Promise<void> }) {
  const payload = useMemo(() => readable(letter.payload), [letter.payload]);
  return (
    <li>
      <div class="letter-head">
        <span class="badge warning">{letter.reason}</span>
        <code>{letter.topic ?? 'no topic'}</code>
        <span class="hint">{dateTime(letter.time)}</span>
        <Act class="small" run={replay}>
          Replay
        </Act>
      </div>
      <p>{letter.detail}</p>
      <details>
        <summary>
          Payload<span class="hidden"> of {letter.id}</span>
        </summary>
        <pre class="json">{payload}</pre>
        <Facts
          rows={[
            ['In the log', `partition ${letter.partition}, offset ${letter.offset}`],
            [
              'Replayed',
              letter.replayedAt === null
                ? 'never'
                : `${dateTime(letter.replayedAt)} by ${letter.replayedBy}`,
            ],
          ]}
        />
      </details>
    </li>
  );
}

/** The bytes as JSON or text where they are, else in hexadecimal. */
function readable(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  } catch {
    return [...bytes.slice(0, 1_024)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  }
}
