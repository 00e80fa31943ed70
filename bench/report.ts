import type { Machine } from './machine.ts';
import type { Around, Column, Row, Suite } from './suite.ts';

export interface Measured {
  suite: Suite;
  rows: Row[];
}

const NAME = 'name';

/** For a terminal. */
export function lineOf({ columns }: Suite, row: Row): string {
  const cells = columns
    .filter(({ key }) => row[key] !== undefined)
    .map((column) => `${column.title} ${cell(row, column)}`);
  if (typeof row.note === 'string') cells.push(row.note);
  return `  ${String(row[NAME]).padEnd(44)} ${cells.join(' | ')}`;
}

/** For docs/performance.md. */
export function markdownOf({ suite, rows }: Measured): string {
  const { columns } = suite;
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    `### ${suite.title}`,
    '',
    suite.about,
    '',
    line(['', ...columns.map(({ title }) => title)]),
    line(['---', ...columns.map(() => '---:')]),
    ...rows.map((row) => {
      const cells = columns.map((column) => cell(row, column));
      if (typeof row.note === 'string') cells[0] = row.note;
      return line([row.name, ...cells]);
    }),
  ].join('\n');
}

export function machineText(machine: Machine): string {
  const { cores, cpu, memoryGiB, system, bun, postgres, kafka, fsync, load } = machine;
  return (
    `${cores} cores (${cpu}), ${memoryGiB} GiB, ${system}. Bun ${bun}, PostgreSQL ${postgres}, ` +
    `${kafka === null ? 'no Kafka' : `Kafka ${kafka}`}. fsync of 4 KiB: p50 ` +
    `${fsync.p50.toFixed(2)} ms, p99 ${fsync.p99.toFixed(2)} ms. Load when the run began: ${load}.`
  );
}

/**
 * The document with a suite's table in place of the earlier one, between `<!-- bench:NAME -->` and
 * `<!-- /bench:NAME -->`.
 *
 * @throws Error when that place is missing
 */
export function replaceSection(
  text: string,
  measured: Measured,
  { machine, around }: { machine: Machine; around: Around },
): string {
  const { name } = measured.suite;
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`no place for ${name}: docs/performance.md needs ${begin} and ${end}`);
  }
  const { quick, rounds, records } = around;
  const told =
    `${machineText(machine)} ${new Date().toISOString().slice(0, 10)}, rounds: ${rounds}, of ` +
    `${records.toLocaleString('en')} records${quick ? '; --quick: small loads' : ''}.`;
  const section = `${begin}\n${markdownOf(measured)}\n\n*${told}*\n`;
  return text.slice(0, from) + section + text.slice(to);
}

function cell(row: Row, { key, digits = 0 }: Column): string {
  const value = row[key];
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString('en', options);
}
