import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { dateTime, number, timeTicks } from '../state/format.ts';
import { isDark, zone } from '../state/preferences.ts';
import type { Threshold } from '../state/rules.ts';
import { colour, drawShades, drawThresholds, rangeWith, type Shade } from './chart-marks.ts';
import { panByPointer } from './chart-pan.ts';

/** Columns of one length: epoch seconds, mean, least, greatest. Null is a gap. */
export type ChartData = [number[], ...(number | null)[][]];

export interface ChartProps {
  /** What it shows, for those who do not see it. */
  label: string;
  data: ChartData;
  /** Epoch seconds. */
  from: number;
  to: number;
  thresholds: readonly Threshold[];
  shades: readonly Shade[];
  height?: number;
  /** Charts of one name share the cursor. */
  sync?: string;
  /** The range was changed by hand. */
  onRange?: (from: number, to: number) => void;
}

const PAN = 0.25;
const ZOOM = 0.5;

/** Mean as a line in a band from the least to the greatest; drag zooms, Shift and drag moves. */
export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLOutputElement>(null);
  const plot = useRef<uPlot | null>(null);
  const now = useRef(props);
  now.current = props;
  const dark = isDark();
  const zoneName = zone.value;

  useEffect(() => {
    const element = host.current as HTMLDivElement;
    const made = new uPlot(optionsOf(now, element, readout), now.current.data, element);
    made.setScale('x', { min: now.current.from, max: now.current.to });
    plot.current = made;
    const sized = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry?.contentRect.width ?? 0);
      if (width > 0 && width !== made.width) made.setSize({ width, height: made.height });
    });
    sized.observe(element);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, zoneName, props.sync, props.height]);

  useEffect(() => {
    const made = plot.current;
    if (made === null) return;
    made.batch(() => {
      made.setData(props.data, false);
      made.setScale('x', { min: props.from, max: props.to });
    });
  }, [props.data, props.from, props.to, props.thresholds, props.shades]);

  const move = (event: KeyboardEvent) => {
    const { from, to, onRange } = props;
    const width = to - from;
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [from - width * PAN, to - width * PAN],
      ArrowRight: [from + width * PAN, to + width * PAN],
      '+': [from + (width * ZOOM) / 2, to - (width * ZOOM) / 2],
      '-': [from - width * ZOOM, to + width * ZOOM],
    };
    const moved = moves[event.key === '=' ? '+' : event.key];
    if (moved === undefined || onRange === undefined) return;
    event.preventDefault();
    onRange(...moved);
  };
  return (
    <div class="chart">
      <div
        ref={host}
        role="img"
        aria-label={`${props.label}. ${summary(props.data)}`}
        tabIndex={props.onRange === undefined ? undefined : 0}
        onKeyDown={move}
      />
      <output ref={readout} class="chart-readout" aria-hidden="true" />
    </div>
  );
}

function summary([times, means = []]: ChartData): string {
  const values = means.filter((value) => value !== null);
  if (values.length === 0) return 'No values in this range.';
  const least = Math.min(...values);
  const last = values.at(-1);
  const until = dateTime((times.at(-1) as number) * 1_000);
  return `From ${number(least)} to ${number(Math.max(...values))}, ${number(last)} at ${until}.`;
}

type Now = { readonly current: ChartProps };

function optionsOf(
  now: Now,
  element: HTMLElement,
  readout: { current: HTMLElement | null },
): uPlot.Options {
  const { height = 180, sync } = now.current;
  const [line, grid, text] = [colour('--accent'), colour('--grid'), colour('--muted')];
  const axis: uPlot.Axis = {
    stroke: text,
    font: '11px system-ui, sans-serif',
    grid: { stroke: grid, width: 1 },
    ticks: { stroke: grid, width: 1, size: 4 },
  };
  const band = `${line}38`;
  return {
    width: Math.max(element.clientWidth, 100),
    height,
    legend: { show: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), zone.peek()),
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false },
      ...(sync === undefined ? {} : { sync: { key: sync } }),
      points: { size: 7 },
      bind: { mousedown: panByPointer(now) },
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, auto: false },
      y: { range: (_plot, low, high) => rangeWith(now.current.thresholds, low, high) },
    },
    axes: [
      { ...axis, space: 80, values: (_plot, ticks, _axis, _space, step) => timeTicks(ticks, step) },
      { ...axis, size: 52, values: (_plot, ticks) => ticks.map((tick) => number(tick)) },
    ],
    series: [
      {},
      { stroke: line, width: 1.75, points: { show: isSparse, size: 5, fill: line } },
      { stroke: 'transparent', points: { show: false } },
      { stroke: 'transparent', points: { show: false } },
    ],
    bands: [{ series: [3, 2], fill: band }],
    hooks: {
      drawClear: [(plot) => drawShades(plot, now.current.shades)],
      draw: [(plot) => drawThresholds(plot, now.current.thresholds)],
      setCursor: [(plot) => say(plot, readout.current)],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          const [from, to] = [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')];
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          now.current.onRange?.(from, to);
        },
      ],
    },
  };
}

/** Few points are shown each: a lone one between two gaps has no line. */
function isSparse(plot: uPlot, _series: number, first: number, last: number): boolean {
  return last - first < plot.width / 12;
}

function say(plot: uPlot, readout: HTMLElement | null): void {
  if (readout === null) return;
  const { idx } = plot.cursor;
  const [times, means, lows, highs] = plot.data;
  const mean = idx == null ? null : means?.[idx];
  if (idx == null || mean == null) {
    readout.textContent = '';
    return;
  }
  const [low, high] = [lows?.[idx], highs?.[idx]];
  const spread = low === high ? '' : ` (${number(low)} to ${number(high)})`;
  readout.textContent = `${dateTime((times[idx] as number) * 1_000)}  ${number(mean)}${spread}`;
}
