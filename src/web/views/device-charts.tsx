import { useEffect, useMemo, useState } from 'preact/hooks';
import { Empty, Notice, Panel } from '../components/bits.tsx';
import { Chart } from '../components/chart.tsx';
import { wordsOf } from '../state/api.ts';
import { isoSeconds, now, span } from '../state/format.ts';
import { reconnections } from '../state/live.ts';
import { valuesOf } from '../state/model.ts';
import { zone } from '../state/preferences.ts';
import { thresholdsOf } from '../state/rules.ts';
import {
  type Chartable,
  type DeviceName,
  type KeyedShade,
  loadSeries,
  loadShades,
  type Range,
  withPoint,
} from '../state/telemetry.ts';
import type { Reading } from '../state/types.ts';
import type { Explained } from './explained-rules.tsx';
import { RangeBar } from './range-bar.tsx';

/** Follows the clock with a width in seconds, or stands. */
export type Window = { live: number } | { live: null; range: Range };

const MAX_POINTS = 600;
const FIRST_SECONDS = 3_600;
const RELOAD_MS = 30_000;
const MAX_CHARTS = 6;
const EARLIEST = Date.UTC(2000) / 1_000;

interface ChartsProps {
  device: DeviceName;
  keys: readonly string[];
  last: Reading | null;
  rules: readonly Explained[];
}

export function DeviceCharts({ device, keys, last, rules }: ChartsProps) {
  const [view, setView] = useState<Window>(() => firstWindow(last));
  const [shown, setShown] = useState<readonly string[] | null>(null);
  const chosen = shown ?? keys.slice(0, MAX_CHARTS);
  const range = rangeOf(view);
  const { series, shades, fault } = useCharts(device, chosen, view, last);
  const covering = useMemo(
    () => rules.filter(({ status }) => status !== 'NOT_COVERED').map(({ rule }) => rule),
    [rules],
  );
  const onRange = (from: number, to: number) =>
    setView({
      live: null,
      range: { from: Math.max(from, EARLIEST), to: Math.min(to, Date.now() / 1_000 + 3_600) },
    });
  const hasPoints = series.some(({ data }) => data[0].length > 0);
  const toggle = (key: string) =>
    setShown(chosen.includes(key) ? chosen.filter((each) => each !== key) : [...chosen, key]);

  return (
    <Panel
      title="Charts"
      class="charts"
      aside={<RangeBar view={view} range={range} onView={setView} />}
    >
      {keys.length > 1 && (
        <fieldset class="chips" aria-label="Keys">
          {keys.map((key) => (
            <button
              type="button"
              key={key}
              class="chip"
              aria-pressed={chosen.includes(key)}
              onClick={() => toggle(key)}
            >
              {key}
            </button>
          ))}
        </fieldset>
      )}
      {fault !== '' && <Notice kind="bad">{fault}</Notice>}
      {!hasPoints && last !== null && (
        <Empty title="Nothing in this range">
          <button
            type="button"
            onClick={() => setView(around(Date.parse(last.time) / 1_000, FIRST_SECONDS))}
          >
            Go to the newest reading
          </button>
        </Empty>
      )}
      {series.map(({ key, data, bucket }) => (
        <figure key={key}>
          <figcaption>
            <strong>{key}</strong>{' '}
            <span class="hint">
              {data[0].length > 0 && `each point ${span(isoSeconds(bucket))}`}
            </span>
          </figcaption>
          <Chart
            label={`${key} of ${device.deviceId}`}
            data={data}
            from={range.from}
            to={range.to}
            thresholds={thresholdsOf(covering, key)}
            shades={shades.filter((shade) => shade.key === null || shade.key === key)}
            sync={`device/${device.deviceId}`}
            onRange={onRange}
          />
        </figure>
      ))}
      <p class="hint">
        Drag to zoom, Shift and drag to move; with the keyboard the arrows move, + and − zoom.
      </p>
    </Panel>
  );
}

/** A device that has been silent for long opens where its readings are. */
function firstWindow(last: Reading | null): Window {
  const newest = last === null ? null : Date.parse(last.time) / 1_000;
  if (newest === null || Date.now() / 1_000 - newest < FIRST_SECONDS)
    return { live: FIRST_SECONDS };
  return around(newest, FIRST_SECONDS);
}

function around(time: number, width: number): Window {
  return { live: null, range: { from: time - width * 0.95, to: time + width * 0.05 } };
}

function rangeOf(view: Window): Range {
  if (view.live === null) return view.range;
  const to = now.value / 1_000;
  return { from: to - view.live, to };
}

/** Series and alerts of the window: read anew when it changes, moved on by each reading. */
function useCharts(
  device: DeviceName,
  keys: readonly string[],
  view: Window,
  last: Reading | null,
) {
  const [series, setSeries] = useState<Chartable[]>([]);
  const [shades, setShades] = useState<KeyedShade[]>([]);
  const [fault, setFault] = useState('');
  const [turn, setTurn] = useState(0);
  const names = keys.join('\n');

  useEffect(() => {
    let isOver = false;
    const load = async () => {
      const range = rangeOf(view);
      const loaded = await Promise.all([
        names === '' ? [] : loadSeries(device, keys, range, MAX_POINTS),
        loadShades(device, range),
      ]);
      if (isOver) return;
      setSeries(loaded[0].filter(({ data }) => data[0].length > 0));
      setShades(loaded[1]);
      setFault('');
    };
    load().catch((error) => {
      if (!isOver) setFault(wordsOf(error));
    });
    return () => {
      isOver = true;
    };
  }, [device, names, view, turn, zone.value, reconnections.value]);

  useEffect(() => {
    if (view.live === null) return;
    const timer = setInterval(() => setTurn((each) => each + 1), RELOAD_MS);
    return () => clearInterval(timer);
  }, [view]);

  useEffect(() => {
    if (last === null || view.live === null) return;
    const values = valuesOf(last);
    const from = Date.now() / 1_000 - view.live;
    setSeries((known) =>
      known.map((one) => {
        const value = values.get(one.key);
        if (typeof value !== 'number') return one;
        return { ...one, data: withPoint(one.data, Date.parse(last.time) / 1_000, value, from) };
      }),
    );
  }, [last, view]);
  return { series, shades, fault };
}
