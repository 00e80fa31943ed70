import type uPlot from 'uplot';
import type { Threshold } from '../state/rules.ts';
import type { Severity } from '../state/types.ts';

/** A stretch of time to be shaded, epoch seconds; `to` null: it goes on. */
export interface Shade {
  from: number;
  to: number | null;
  severity?: Severity | null;
}

const TOKENS = { CRITICAL: '--critical', WARNING: '--warning', INFO: '--info' } as const;

/** A colour of the design system as a canvas takes it. */
export function colour(token: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}

const colourOf = (severity: Severity | null | undefined) =>
  colour(severity == null ? '--muted' : TOKENS[severity]);

/** Behind the series: when an alert fired, with its beginning marked. */
export function drawShades(plot: uPlot, shades: readonly Shade[]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { from, to, severity } of shades) {
    const left = plot.valToPos(from, 'x', true);
    const right = to === null ? bbox.left + bbox.width : plot.valToPos(to, 'x', true);
    ctx.fillStyle = colourOf(severity ?? 'WARNING');
    ctx.globalAlpha = 0.13;
    ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
    ctx.globalAlpha = 0.75;
    ctx.fillRect(left, bbox.top, devicePixelRatio, bbox.height);
  }
  ctx.restore();
}

/** Over the series: a dashed line for each threshold, named at its right end. */
export function drawThresholds(plot: uPlot, thresholds: readonly Threshold[]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `600 ${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = 'right';
  ctx.lineWidth = devicePixelRatio;
  for (const { value, label, severity } of thresholds) {
    const y = Math.round(plot.valToPos(value, 'y', true));
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.strokeStyle = colourOf(severity);
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.strokeStyle = colour('--surface');
    ctx.fillStyle = colourOf(severity);
    const isHigh = y - bbox.top < 16 * devicePixelRatio;
    const baseline = y + (isHigh ? 13 : -4) * devicePixelRatio;
    const right = bbox.left + bbox.width - 4 * devicePixelRatio;
    // In a halo, as the series may run behind it.
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.strokeText(label, right, baseline);
    ctx.fillText(label, right, baseline);
    ctx.lineWidth = devicePixelRatio;
  }
  ctx.restore();
}

/** Room for the data, and for the thresholds that are not far from it. */
export function rangeWith(
  thresholds: readonly Threshold[],
  low: number | null,
  high: number | null,
): [number, number] {
  if (low === null || high === null) {
    const values = thresholds.map(({ value }) => value);
    return values.length === 0 ? [0, 1] : [Math.min(...values) - 1, Math.max(...values) + 1];
  }
  const reach = Math.max(high - low, Math.abs(high) * 0.25, 1);
  const near = thresholds
    .map(({ value }) => value)
    .filter((value) => value > low - reach && value < high + reach);
  const min = Math.min(low, ...near);
  const max = Math.max(high, ...near);
  const margin = (max - min || Math.abs(max) || 1) * 0.08;
  return [min - margin, max + margin];
}
