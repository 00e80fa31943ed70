import type { Range } from '../state/telemetry.ts';
import type { Window } from './device-charts.tsx';

const SPANS = [
  ['15 min', 900],
  ['1 h', 3_600],
  ['6 h', 21_600],
  ['1 d', 86_400],
  ['7 d', 604_800],
  ['30 d', 2_592_000],
  ['1 y', 31_536_000],
  ['5 y', 157_680_000],
] as const;

interface RangeBarProps {
  view: Window;
  range: Range;
  onView: (view: Window) => void;
}

/** Widths that end now and follow it; steps back and forth; in and out. */
export function RangeBar({ view, range, onView }: RangeBarProps) {
  const width = range.to - range.from;
  const shift = (by: number) =>
    onView({ live: null, range: { from: range.from + width * by, to: range.to + width * by } });
  const zoom = (by: number) => {
    const middle = (range.from + range.to) / 2;
    const half = (width * by) / 2;
    onView({ live: null, range: { from: middle - half, to: middle + half } });
  };
  return (
    <div class="range-bar">
      <fieldset class="joined" aria-label="Range up to now">
        {SPANS.map(([name, seconds]) => (
          <button
            type="button"
            key={name}
            aria-pressed={view.live === seconds}
            onClick={() => onView({ live: seconds })}
          >
            {name}
          </button>
        ))}
      </fieldset>
      <fieldset class="joined" aria-label="Move">
        <button type="button" aria-label="Earlier" onClick={() => shift(-0.5)}>
          ←
        </button>
        <button type="button" aria-label="Later" onClick={() => shift(0.5)}>
          →
        </button>
        <button type="button" aria-label="Zoom in" onClick={() => zoom(0.5)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" onClick={() => zoom(2)}>
          −
        </button>
      </fieldset>
      <button
        type="button"
        class="live"
        aria-pressed={view.live !== null}
        onClick={() =>
          onView(view.live === null ? { live: Math.min(width, 31_536_000) } : { live: null, range })
        }
      >
        Live
      </button>
    </div>
  );
}
