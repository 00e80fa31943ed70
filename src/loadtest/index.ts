import { StartError } from '../domain/start-error.ts';
import { loadModel } from '../load-model.ts';
import { ApiError } from './api.ts';
import { runLoad } from './load.ts';
import { type Parsed, parseOptions } from './options.ts';
import { createProgress } from './progress.ts';
import { RecordingError } from './recording.ts';
import { runReplay } from './replay.ts';
import { loadFailures, loadReport, replayFailures, replayReport } from './report.ts';
import { UnreachableError } from './unreachable.ts';

/** `bun src/loadtest`: 0 all is well, 1 the verdict says no, 2 it could not run. */
const FAILED = 1;
const COULD_NOT_RUN = 2;
const INTERRUPTED = 130;

async function main(): Promise<number> {
  const parsed = parseOptions(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
  if (parsed.kind === 'exit') return parsed.code;
  try {
    return await run(parsed);
  } catch (error) {
    const known =
      error instanceof StartError ||
      error instanceof UnreachableError ||
      error instanceof RecordingError ||
      error instanceof ApiError;
    process.stderr.write(`${known ? `error: ${error.message}` : describe(error)}\n`);
    return COULD_NOT_RUN;
  }
}

async function run(parsed: Exclude<Parsed, { kind: 'exit' }>): Promise<number> {
  // As the process reads it that is to be tested.
  const model = await loadModel({ model: process.env.MODEL || null });
  const context = { progress: createProgress(process.stderr), stopped: stopOnInterrupt() };
  if (parsed.kind === 'load') {
    const result = await runLoad({ ...parsed.options, model }, context);
    const failures = loadFailures(result);
    await print(parsed.options.json, { ...result, failures }, () => loadReport(result));
    return failures.length === 0 ? 0 : FAILED;
  }
  const result = await runReplay({ ...parsed.options, model }, context);
  const failures = replayFailures(result);
  await print(parsed.options.json, { ...result, failures }, () => replayReport(result));
  return failures.length === 0 ? 0 : FAILED;
}

async function print(
  json: boolean,
  result: { failures: string[] },
  report: () => string,
): Promise<void> {
  const ok = result.failures.length === 0;
  // Awaited to the last byte: a pipe would lose the rest when the process exits.
  await Bun.write(Bun.stdout, json ? `${JSON.stringify({ ok, ...result })}\n` : `${report()}\n`);
}

/** The first Ctrl-C ends the publishing, the second one leaves. */
function stopOnInterrupt(): AbortSignal {
  const controller = new AbortController();
  process.on('SIGINT', () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    process.stderr.write('\nstopped publishing; Ctrl-C again leaves without a verdict\n');
    controller.abort();
  });
  return controller.signal;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

process.exit(await main());
