import { useEffect, useMemo, useState } from 'preact/hooks';
import { Notice } from '../components/bits.tsx';
import { Chart } from '../components/chart.tsx';
import { ApiError, request, wordsOf } from '../state/api.ts';
import { BACKTEST, DEVICE_NAMES } from '../state/documents.ts';
import { isoSeconds, number, span } from '../state/format.ts';
import { declaredKeys } from '../state/model.ts';
import { thresholdsOf } from '../state/rules.ts';
import { type Chartable, type DeviceName, loadSeries, type Range } from '../state/telemetry.ts';
import type { Backtest, Issue, RuleInput } from '../state/types.ts';
import { issuesOf } from './rule-editor.tsx';

const DEBOUNCE_MS = 350;
const DAY = 86_400;
const SPANS = [1, 7, 30] as const;
/** What the API finds too expensive is tried over less, once each. */
const NARROWER = [1, 1 / 8, 1 / 64];

interface Tried {
  result: Backtest;
  range: Range;
}

interface BacktestProps {
  user: string;
  draft: RuleInput;
  onIssues: (issues: Issue[]) => void;
}

/** What the draft would have done, by the code that runs live, before it is saved. */
export function RuleBacktest({ user, draft, onIssues }: BacktestProps) {
  const [days, setDays] = useState<number>(7);
  const [tried, setTried] = useState<Tried | null>(null);
  const [fault, setFault] = useState('');
  const [isBusy, setBusy] = useState(false);
  const text = JSON.stringify(draft);

  useEffect(() => {
    const aborter = new AbortController();
    const run = async () => {
      setBusy(true);
      try {
        setTried(await tryOut(user, draft, days, aborter.signal));
        setFault('');
        onIssues([]);
      } catch (error) {
        if (aborter.signal.aborted) return;
        const issues = issuesOf(error);
        onIssues(issues);
        setFault(issues.length > 0 ? '' : wordsOf(error));
        if (issues.length > 0) setTried(null);
      } finally {
        if (!aborter.signal.aborted) setBusy(false);
      }
    };
    const timer = setTimeout(() => void run(), DEBOUNCE_MS);
    return () => {
      clearTimeout(timer);
      aborter.abort();
    };
  }, [user, text, days]);

  return (
    <section class="backtest" aria-label="Backtest">
      <div class="backtest-head">
        <h3>What it would have done</h3>
        <fieldset class="joined" aria-label="Days to try it on">
          {SPANS.map((each) => (
            <button
              type="button"
              key={each}
              aria-pressed={days === each}
              onClick={() => setDays(each)}
            >
              {each} d
            </button>
          ))}
        </fieldset>
      </div>
      {fault !== '' && <Notice kind="bad">{fault}</Notice>}
      {tried === null ? (
        <p class="hint">{isBusy ? 'Trying it on what is stored…' : 'Fill in the rule to see.'}</p>
      ) : (
        <Outcome user={user} draft={draft} {...tried} />
      )}
    </section>
  );
}

/** @throws ApiError where even the narrowest range is refused */
async function tryOut(
  user: string,
  rule: RuleInput,
  days: number,
  signal: AbortSignal,
): Promise<Tried> {
  const to = Math.ceil(Date.now() / 1_000);
  for (const share of NARROWER) {
    const range = { from: to - days * DAY * share, to };
    const [from, until] = [range.from, range.to].map((time) =>
      new Date(time * 1_000).toISOString(),
    );
    const variables = { userId: user, rule, from, to: until };
    try {
      type Answer = { user: { backtest: Backtest } | null };
      const answer = await request<Answer>(BACKTEST, variables, signal);
      if (answer.user === null) throw new ApiError('this user has sent nothing yet', {});
      return { result: answer.user.backtest, range };
    } catch (error) {
      const isTooMuch = error instanceof ApiError && error.code === 'TOO_EXPENSIVE';
      if (!isTooMuch || share === NARROWER.at(-1)) throw error;
    }
  }
  throw new Error('unreachable');
}

function Outcome({ user, draft, result, range }: Tried & { user: string; draft: RuleInput }) {
  const [chosen, setChosen] = useState('');
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    type Answer = { user: { devices: { nodes: { deviceId: string }[] } } | null };
    request<Answer>(DEVICE_NAMES, { userId: user }).then(
      (answer) => setNames(answer.user?.devices.nodes.map(({ deviceId }) => deviceId) ?? []),
      () => {},
    );
  }, [user]);
  const hit = [...new Set(result.episodes.map(({ deviceId }) => deviceId))];
  const devices = [...new Set([...hit, ...names])];
  const device = devices.includes(chosen) ? chosen : (devices[0] ?? '');
  return (
    <>
      <p role="status">
        <strong>{number(result.episodeCount)}</strong>{' '}
        {result.episodeCount === 1 ? 'alert' : 'alerts'} on {number(result.devices)}{' '}
        {result.devices === 1 ? 'device' : 'devices'} in the last {span(range.to - range.from)},
        firing {span(isoSeconds(result.firing))} in all, {number(result.firingAtEnd)} still at the
        end; {number(result.readings)} readings judged.
        {result.liveEpisodes !== null &&
          ` The rule in force raised ${number(result.liveEpisodes)}.`}
      </p>
      {devices.length > 0 && (
        <>
          <select
            aria-label="Device to draw"
            value={device}
            onChange={({ currentTarget }) => setChosen(currentTarget.value)}
          >
            {devices.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
          <Drawn user={user} device={device} draft={draft} result={result} range={range} />
        </>
      )}
      {result.notes.map((note) => (
        <p key={note} class="hint">
          {note}
        </p>
      ))}
    </>
  );
}

function Drawn(props: Tried & { user: string; device: string; draft: RuleInput }) {
  const { user, device, draft, result, range } = props;
  const [series, setSeries] = useState<Chartable | null>(null);
  const key = draft.key ?? declaredKeys[0] ?? '';
  // What is typed meanwhile moves the end by seconds only: no reason to read again.
  const [from, to] = [range.from, range.to].map((time) => Math.floor(time / 300) * 300) as [
    number,
    number,
  ];
  useEffect(() => {
    let isOver = false;
    loadWhatIs({ userId: user, deviceId: device }, key, { from, to: to + 300 }).then(
      (one) => !isOver && setSeries(one),
      () => !isOver && setSeries(null),
    );
    return () => {
      isOver = true;
    };
  }, [user, device, key, from, to]);
  const shades = useMemo(
    () =>
      result.episodes
        .filter(({ deviceId }) => deviceId === device)
        .map(({ startedAt, resolvedAt }) => ({
          from: Date.parse(startedAt) / 1_000,
          to: resolvedAt === null ? null : Date.parse(resolvedAt) / 1_000,
          severity: draft.severity,
        })),
    [result, device, draft.severity],
  );
  if (series === null) return null;
  const count = `${shades.length} alerts`;
  return (
    <Chart
      label={`${key} of ${device} with ${count} that there would have been`}
      data={series.data}
      {...fit(series, range)}
      thresholds={thresholdsOf([draft as never], key)}
      shades={shades}
      height={160}
    />
  );
}

const MAX_POINTS = 500;

/** Finer where what is stored fills a part of the range only. */
async function loadWhatIs(
  device: DeviceName,
  key: string,
  range: Range,
): Promise<Chartable | null> {
  const [coarse] = await loadSeries(device, [key], range, MAX_POINTS);
  const times = coarse?.data[0] ?? [];
  const width = isoSeconds(coarse?.bucket ?? 'PT1M');
  if (times.length === 0 || times.length > MAX_POINTS / 4) return coarse ?? null;
  const from = Math.max(range.from, (times[0] as number) - width);
  const to = Math.min(range.to, (times.at(-1) as number) + width);
  const [fine] = await loadSeries(device, [key], { from, to }, MAX_POINTS);
  return fine ?? null;
}

/** Where less is stored than was asked for, the chart shows what there is. */
function fit({ data: [times] }: Chartable, { from, to }: Range): Range {
  const [first, last] = [times[0], times.at(-1)];
  if (first === undefined || last === undefined) return { from, to };
  const margin = Math.max((last - first) * 0.03, 30);
  return { from: Math.max(from, first - margin), to: Math.min(to, last + margin) };
}
