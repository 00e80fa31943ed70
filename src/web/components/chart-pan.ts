import type uPlot from 'uplot';
import type { ChartProps } from './chart.tsx';

/** Shift and drag moves the range; a plain drag stays uPlot's, which selects. */
export function panByPointer(now: {
  readonly current: ChartProps;
}): uPlot.Cursor.MouseListenerFactory {
  return (plot, _target, handle) => (event) => {
    if (!event.shiftKey || event.button !== 0) {
      handle(event);
      return null;
    }
    const { from, to, onRange } = now.current;
    const perPixel = (to - from) / plot.over.clientWidth;
    const startX = event.clientX;
    const shiftOf = (at: MouseEvent) => (startX - at.clientX) * perPixel;
    const move = (at: MouseEvent) =>
      plot.setScale('x', { min: from + shiftOf(at), max: to + shiftOf(at) });
    const end = (at: MouseEvent) => {
      removeEventListener('mousemove', move);
      if (shiftOf(at) !== 0) onRange?.(from + shiftOf(at), to + shiftOf(at));
    };
    addEventListener('mousemove', move);
    addEventListener('mouseup', end, { once: true });
    return null;
  };
}
