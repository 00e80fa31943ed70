import { totalmem } from 'node:os';

/** From 16 GiB on JavaScriptCore lets its heap grow twice as fast. */
const LARGE_MACHINE_BYTES = 16 * 2 ** 30;
/** How much more than what is in use may gather before a garbage collection, as a factor. */
const SETTING = 'BUN_JSC_heapGrowthMaxIncrease';
/** As on a machine below that size. */
const FACTOR = '1';
/** Bun refuses to start with a setting that it doesn't know, and they change between versions. */
const KNOWN_TO = '~1.4.0';

/**
 * On a large machine JavaScriptCore collects once there is three times what is in use, on others
 * twice: at 10,000 readings a second 288 MiB or 192 MiB of RSS, for the same CPU. It takes that
 * from the environment it was started with and never again, so the process begins anew with it,
 * as the same one (execve: pid, files, parent and arguments stay), some 5 ms after its start.
 */
export function slowHeapGrowth(memoryBytes = totalmem()): void {
  if (process.env[SETTING] !== undefined || memoryBytes < LARGE_MACHINE_BYTES) return;
  if (!Bun.semver.satisfies(Bun.version, KNOWN_TO) || process.execve === undefined) return;
  const { execPath, execArgv, argv, env } = process;
  try {
    process.execve(execPath, [execPath, ...execArgv, ...argv.slice(1)], {
      ...env,
      [SETTING]: FACTOR,
    });
  } catch {
    // It only takes more memory (Windows has no execve).
  }
}
