import { createProgress } from '../../../src/loadtest/progress.ts';
import { noCluster } from '../../support/cluster.ts';
import { startEmbeddedStage } from './embedded-stage.ts';
import { startKafkaStage } from './kafka-stage.ts';
import { watchMemory } from './memory.ts';
import { type ChaosOptions, parseOptions } from './options.ts';
import { failuresOf, reportOf, type StackResult } from './report.ts';
import { type RoundContext, runRound } from './round.ts';
import { createRunFolder } from './run-folder.ts';
import type { StackName, Stage } from './stage.ts';

/** `bun run chaos`: 0 all is well, 1 the verdict says no, 2 it could not run. */
const FAILED = 1;
const COULD_NOT_RUN = 2;
const BEYOND_MINUTES = 0.5;
const BEYOND_SETTLE_SECONDS = 20;

const startedAt = performance.now();
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
    process.on(signal, () => {
      say('stopping: no more faults, then the verdict');
      interrupted.abort();
    });
  }
  const context = { progress: createProgress(process.stderr), stopped: interrupted.signal, say };
  const results: StackResult[] = [];
  for (const stack of options.stacks) {
    if (interrupted.signal.aborted) break;
    if (stack === 'kafka' && noCluster) {
      say('kafka: skipped, as Java with Maven, mosquitto or pgbouncer is not installed');
      if (options.stacks.length === 1) return COULD_NOT_RUN;
      continue;
    }
    results.push(await runStack(stack, options, context));
  }
  const failures = results.flatMap((result) =>
    failuresOf(result).map((text) => `${result.stack}: ${text}`),
  );
  say(`\n${reportOf(results)}\n`);
  const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1);
  say(
    failures.length === 0
      ? `OK after ${minutes} minutes: nothing lost, nothing twice, every alert once.`
      : `FAILED, seed ${options.seed}:\n${failures.map((text) => `  ${text}`).join('\n')}`,
  );
  return failures.length === 0 ? 0 : FAILED;
}

async function runStack(
  stack: StackName,
  options: ChaosOptions,
  context: RoundContext,
): Promise<StackResult> {
  const folder = createRunFolder();
  const startMs = performance.now();
  try {
    say(`${stack}: starting`);
    const start = stack === 'embedded' ? startEmbeddedStage : startKafkaStage;
    const stage = await start(folder);
    const memory = watchMemory(() => stage.pids());
    let result: Omit<StackResult, 'leftOver'>;
    try {
      const round = await runRound(stage, options, context);
      const summary = memory.summary();
      const wanted = options.mosquittoKills > 0 && !context.stopped.aborted;
      const only = wanted ? stage.beyond : null;
      const beyond =
        only &&
        (await runRound(
          stage,
          {
            ...options,
            only,
            faults: options.mosquittoKills,
            minutes: BEYOND_MINUTES,
            settleSeconds: BEYOND_SETTLE_SECONDS,
          },
          context,
        ));
      const seconds = (performance.now() - startMs) / 1000;
      result = { stack, seconds, round, beyond, memory: summary, skipped: stage.skipped };
      const failures = failuresOf({ ...result, leftOver: [] });
      if (failures.length > 0) await keepLogs(stage);
    } catch (error) {
      await keepLogs(stage);
      throw error;
    } finally {
      memory.stop();
      await stage.close();
    }
    return { ...result, leftOver: folder.processes() };
  } finally {
    folder.remove();
  }
}

/** What the processes have said since their last start; their folders go. */
async function keepLogs(stage: Stage): Promise<void> {
  const file = `${stage.name}-chaos.log`;
  await Bun.write(file, stage.logs());
  say(`the last words of its processes are in ${file}`);
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
