/** The last values as a line without axes; its number stands beside it. */
export function Sparkline({ values }: { values: readonly number[] }) {
  const [width, height] = [120, 32];
  const top = Math.max(...values, 0);
  const bottom = Math.min(...values, 0);
  const scale = top === bottom ? 0 : (height - 4) / (top - bottom);
  const step = width / Math.max(values.length - 1, 1);
  const points = values.map(
    (value, at) =>
      `${(at * step).toFixed(1)},${(height - 2 - (value - bottom) * scale).toFixed(1)}`,
  );
  const area = `0,${height} ${points.join(' ')} ${width},${height}`;
  return (
    <svg
      class="sparkline"
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {points.length > 1 && <polygon points={area} />}
      {points.length > 1 && <polyline points={points.join(' ')} />}
    </svg>
  );
}
