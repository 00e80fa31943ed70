/** `bun run bench`: ratios of one run on one machine, as JSON on stdout and tables on stderr. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { slowHeapGrowth } from '../src/heap-growth.ts';
import { stopTestKafka } from '../tests/support/kafka.ts';
import { copySuite } from './copy.ts';
import { dashboardSuite } from './dashboard.ts';
import { fanoutSuite } from './fanout.ts';
import { ingestSuite } from './ingest.ts';
import { latencySuite } from './latency.ts';
import { describeMachine } from './machine.ts';
import { profileSuite } from './profile.ts';
import { pubackSuite } from './puback.ts';
import { queriesSuite } from './queries.ts';
import { lineOf, type Measured, machineText, replaceSection } from './report.ts';
import { soakSuite } from './soak.ts';
import { stagesSuite } from './stages.ts';
import { startSuite } from './start.ts';
import type { Around, Row, Suite } from './suite.ts';

const SUITES: Suite[] = [
  copySuite,
  stagesSuite,
  profileSuite,
  ingestSuite,
  pubackSuite,
  latencySuite,
  queriesSuite,
  fanoutSuite,
  dashboardSuite,
  soakSuite,
  startSuite,
];
const DOCUMENT = join(import.meta.dirname, '..', 'docs', 'performance.md');
const QUICK = { rounds: 1, records: 20_000, soakMinutes: 0.2 };
const FULL = { rounds: 3, records: 200_000, soakMinutes: 5 };

interface Options {
  only: string[];
  rounds?: number;
  records?: number;
  soak?: number;
  quick: boolean;
  write: boolean;
  list: boolean;
}

const program = new Command('bench')
  .description(
    'Measures Pulsegraph beside plain baselines without its guarantees: JSON on stdout, tables ' +
      'on stderr. Other work on the machine shows; ratios stand it better than rates do.',
  )
  .option(
    '--only <text>',
    'rows whose "suite: row" holds this, like "ingest: Kafka"; may be repeated',
    (text, before: string[]) => [...before, text],
    [],
  )
  .option('--rounds <n>', `rounds of a throughput row (${FULL.rounds}); medians are shown`, whole)
  .option('--records <n>', `records in such a round (${FULL.records.toLocaleString('en')})`, whole)
  .option('--soak <minutes>', `how long the soak takes (${FULL.soakMinutes})`, positive)
  .option('--quick', 'small loads, in some minutes: whether it runs, not how fast', false)
  .option('--write', 'put the tables into docs/performance.md', false)
  .option('--list', 'say which rows there are', false)
  .addHelpText(
    'after',
    `
Suites: ${SUITES.map(({ name }) => name).join(', ')}

  bun run bench --quick
  bun run bench --only "Kafka, 90 devices, 5 rules" --rounds 5 > ingest.json
  bun run bench --only soak --soak 60
  bun run bench --write              what docs/performance.md shows, in about an hour`,
  );
const options = program.parse().opts<Options>();
// Some rows run the engine here, which is to have the heap that it has in service.
slowHeapGrowth();
const defaults = options.quick ? QUICK : FULL;
const around: Around = {
  quick: options.quick,
  rounds: options.rounds ?? defaults.rounds,
  records: options.records ?? defaults.records,
  soakMinutes: options.soak ?? defaults.soakMinutes,
};

const wanted = SUITES.map((suite) => ({ suite, cases: casesOf(suite) }));
if (wanted.every(({ cases }) => cases.length === 0)) {
  program.error(`--only ${options.only.join(', ')}: no such row; --list says which there are`);
}
if (options.list) {
  for (const { suite, cases } of wanted) for (const name of cases) console.log(label(suite, name));
} else {
  await run();
}

async function run(): Promise<void> {
  const machine = await describeMachine();
  console.error(machineText(machine));
  const measured: Measured[] = [];
  try {
    for (const { suite, cases } of wanted) {
      if (cases.length === 0) continue;
      const one = { suite, rows: await rowsOf(suite, cases) };
      measured.push(one);
      // Each as it is done: a later one that fails takes nothing away.
      if (options.write) {
        const text = readFileSync(DOCUMENT, 'utf8');
        writeFileSync(DOCUMENT, replaceSection(text, one, { machine, around }));
      }
    }
  } finally {
    await stopTestKafka();
  }
  const suites = measured.map(({ suite: { name, title, about }, rows }) => {
    return { name, title, about, rows };
  });
  console.log(JSON.stringify({ machine, options: around, suites }, null, 2));
}

async function rowsOf(suite: Suite, cases: readonly string[]): Promise<Row[]> {
  console.error(`\n${suite.title} (${suite.name})`);
  const rows: Row[] = [];
  for await (const row of suite.measure(cases, around)) {
    console.error(lineOf(suite, row));
    rows.push(row);
  }
  return rows;
}

function casesOf(suite: Suite): string[] {
  const { only } = options;
  return suite.cases.filter(
    (name) => only.length === 0 || only.some((text) => label(suite, name).includes(text)),
  );
}

function label(suite: Suite, name: string): string {
  return `${suite.name}: ${name}`;
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('write a whole number above 0');
}

function positive(text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('write a number above 0');
}
