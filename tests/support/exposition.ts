/** Prometheus' text format, read as strictly as its scraper does. */
export interface Exposition {
  /** The value of one sample: `pulsegraph_batch_records_bucket{le="+Inf"}`. */
  value(sample: string): number;
  /** Every sample of a metric. */
  samples(metric: string): Map<string, number>;
  types: ReadonlyMap<string, string>;
}

const NAME = /^[a-z_][a-z0-9_]*$/;
const UNITS = /_(seconds|bytes|records|total|messages|connections|sessions|sets|subscriptions)$/;
const SAMPLE = /^([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="[^"\\]*",?)+\})? (\S+)$/;

/** @throws Error at the first line that breaks the format or Prometheus' conventions */
export function parseExposition(text: string): Exposition {
  const types = new Map<string, string>();
  const helps = new Set<string>();
  const values = new Map<string, number>();
  const ownerOf = (name: string) => {
    const base = name.replace(/_(bucket|sum|count)$/, '');
    return types.get(base) === 'histogram' ? base : name;
  };
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind === 'HELP') {
      if (!NAME.test(name) || helps.has(name)) throw new Error(`bad or repeated: ${line}`);
      helps.add(name);
    } else if (kind === 'TYPE') {
      if (!helps.has(name) || types.has(name)) throw new Error(`TYPE without HELP: ${line}`);
      if ((rest === 'counter') !== name.endsWith('_total')) throw new Error(`misnamed: ${line}`);
      types.set(name, rest);
    } else {
      const [, metric = '', labels = '', number] = SAMPLE.exec(line) ?? [];
      if (!types.has(ownerOf(metric))) throw new Error(`a sample of no metric: ${line}`);
      if (values.has(metric + labels)) throw new Error(`twice: ${line}`);
      if (!Number.isFinite(Number(number))) throw new Error(`no number: ${line}`);
      values.set(metric + labels, Number(number));
    }
  }
  for (const [name, type] of types) {
    const isFlag = /_(running|connected)$/.test(name);
    if (!isFlag && !UNITS.test(name)) throw new Error(`no unit: ${name}`);
    if (type === 'histogram') checkHistogram(name, values);
  }
  return {
    types,
    value(sample) {
      const value = values.get(sample);
      if (value === undefined) throw new Error(`there is no ${sample}`);
      return value;
    },
    samples: (metric) => new Map([...values].filter(([sample]) => sample.split('{')[0] === metric)),
  };
}

function checkHistogram(name: string, values: ReadonlyMap<string, number>): void {
  let before = 0;
  for (const [sample, value] of values) {
    if (!sample.startsWith(`${name}_bucket{`)) continue;
    if (value < before) throw new Error(`falls: ${sample}`);
    before = value;
  }
  if (before !== values.get(`${name}_count`) || !values.has(`${name}_sum`)) {
    throw new Error(`${name}: +Inf is not the count`);
  }
}
