import { createProgress } from '../../../src/loadtest/progress.ts';
import { watchMemory } from '../../chaos/run/memory.ts';
import { fuzzConfigParsers, fuzzEnvironment, fuzzPayloads } from './doors/config.ts';
import { fuzzGraphql } from './doors/graphql.ts';
import { fuzzHttp } from './doors/http.ts';
import { fuzzDecoder, fuzzEmbeddedLog } from './doors/log.ts';
import { fuzzPackets } from './doors/mqtt.ts';
import { fuzzFrames, fuzzMessages } from './doors/ws.ts';
import type { Fuzz } from './fuzz.ts';
import { type FuzzOptions, parseOptions } from './options.ts';
import { type FuzzReport, failuresOf, tableOf } from './report.ts';
import { type DoorResult, runFuzz } from './round.ts';
import { type FuzzStage, startFuzzStage } from './stage.ts';

/** `bun run fuzz`: 0 nothing was found, 1 findings, 2 it could not run. */
const FOUND = 1;
const COULD_NOT_RUN = 2;

const startedAt = performance.now();
const secondsSoFar = () => (performance.now() - startedAt) / 1_000;
function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<number> {
  const parsed = parseOptions(process.argv.slice(2));
  if (parsed.kind === 'exit') return parsed.code;
  const { options } = parsed;
  say(`seed ${options.seed} (repeat this run with --seed ${options.seed})`);
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => interrupted.abort());
  }
  const stage = await startFuzzStage();
  const memory = watchMemory(() => [stage.pid]);
  const opened: { close(): Promise<void> }[] = [];
  let report: FuzzReport;
  try {
    const fuzzes = await open(stage, opened);
    const asked = fuzzes.filter(({ door }) => options.doors.includes(door));
    const doors = await runAll(asked, options, { stage, stopped: interrupted.signal });
    report = { seed: options.seed, doors, memory: memory.summary(), seconds: secondsSoFar() };
    if (failuresOf(report).length > 0) await Bun.write('fuzz.log', stage.logs());
  } finally {
    memory.stop();
    for (const each of opened) await each.close();
    await stage.close();
  }
  if (options.json !== null) await Bun.write(options.json, `${JSON.stringify(report, null, 2)}\n`);
  const failures = failuresOf(report);
  say(`\n${tableOf(report)}\n`);
  const minutes = (report.seconds / 60).toFixed(1);
  say(
    failures.length === 0
      ? `OK after ${minutes} minutes: nothing found.`
      : `FOUND after ${minutes} minutes (what the process said is in fuzz.log):\n${failures.join('\n\n')}`,
  );
  return failures.length === 0 ? 0 : FOUND;
}

async function open(stage: FuzzStage, opened: { close(): Promise<void> }[]): Promise<Fuzz[]> {
  const log = await fuzzEmbeddedLog();
  opened.push(log);
  const payloads = await fuzzPayloads(stage);
  opened.push(payloads);
  return [
    ...[fuzzDecoder(), log, fuzzConfigParsers(), fuzzEnvironment(), payloads],
    ...[fuzzPackets, fuzzHttp, fuzzGraphql, fuzzMessages, fuzzFrames].map((create) =>
      create(stage),
    ),
  ];
}

async function runAll(
  fuzzes: readonly Fuzz[],
  { inputs, seed, batch }: FuzzOptions,
  { stage, stopped }: { stage: FuzzStage; stopped: AbortSignal },
): Promise<DoorResult[]> {
  const shares = fuzzes.reduce((sum, { share }) => sum + share, 0);
  const progress = createProgress(process.stderr);
  const results: DoorResult[] = [];
  let done = 0;
  let current = '';
  progress.start(() => {
    const found = results.reduce((sum, { findings }) => sum + findings.length, 0);
    return `${Math.round(secondsSoFar())} s  ${done} of ${inputs}  ${current}  findings ${found}`;
  });
  try {
    for (const fuzz of fuzzes) {
      if (stopped.aborted) break;
      current = fuzz.name;
      const wanted = Math.ceil((inputs * fuzz.share) / shares);
      const onInputs = (more: number) => {
        done += more;
      };
      const around = { stage, stopped, onInputs };
      results.push(await runFuzz(fuzz, { seed, inputs: wanted, batch }, around));
    }
  } finally {
    progress.stop();
  }
  return results;
}

async function run(): Promise<number> {
  try {
    return await main();
  } catch (error) {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return COULD_NOT_RUN;
  }
}

process.exit(await run());
