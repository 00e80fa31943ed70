/** `bun run bench`: ratios of one run on one machine, as JSON on stdout and a table on stderr. */
import { Command, InvalidArgumentError } from 'commander';
import { benchFanout, type FanoutResult } from './fanout.ts';
import { benchIngest, type IngestResult } from './ingest.ts';
import type { Workload } from './workload.ts';

const WORKLOADS: Omit<Workload, 'records'>[] = [
  { name: '90 devices', users: 30, devices: 90, transitionShare: 0.001, redeliveredShare: 0 },
  {
    name: '100,000 devices',
    users: 30,
    devices: 100_000,
    transitionShare: 0.001,
    redeliveredShare: 0,
  },
  {
    name: '90 devices, 1 % sent twice',
    users: 30,
    devices: 90,
    transitionShare: 0.001,
    redeliveredShare: 0.01,
  },
];

const program = new Command('bench')
  .description(
    'Log -> Postgres with five rules per user, against the COPY ceiling; alerts to 1,000 subscribers',
  )
  .option('--records <n>', 'records in a round', positive, 200_000)
  .option('--rounds <n>', 'rounds, ceiling and Pulsegraph in turn', positive, 3)
  .option('--only <text>', 'only the workloads whose name holds this')
  .parse();
const options = program.opts<{ records: number; rounds: number; only?: string }>();

const FANOUT = { users: 30, subscribers: 1_000, transitionsPerSecond: 1_000, seconds: 30 };

const results: (IngestResult | FanoutResult)[] = [];
for (const workload of WORKLOADS) {
  if (options.only !== undefined && !workload.name.includes(options.only)) continue;
  const result = await benchIngest({ ...workload, records: options.records }, options.rounds);
  results.push(result);
  console.error(
    `${result.workload.padEnd(28)} ceiling ${median(result.ceiling)}/s  ` +
      `pulsegraph ${median(result.pulsegraph)}/s  ratio ${result.ratio.toFixed(2)}`,
  );
}
if ('fan-out'.includes(options.only ?? '')) {
  const result = await benchFanout(FANOUT);
  results.push(result);
  const { delivered, missed, doubled, p50, p99, rss } = result;
  console.error(
    `${result.workload.padEnd(28)} delivered ${delivered.toLocaleString('en')}  missed ${missed}  ` +
      `twice ${doubled}  p50 ${p50.toFixed(0)} ms  p99 ${p99.toFixed(0)} ms  RSS ${rss} MiB`,
  );
}
console.log(JSON.stringify({ ...options, results }, null, 2));

function median(values: number[]): string {
  const middle = [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
  return Math.round(middle).toLocaleString('en');
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('write a whole number above 0');
}
