// Runs bun from node_modules with the given arguments, after installing what is missing:
// `node scripts/run.mjs src/index.ts`. Plain JavaScript, because it runs before anything is there:
// under Node, or under Bun, which stands in for a `node` that is not installed. The scripts of
// package.json `exec` it: a shell in between would die of npm's SIGTERM and pass nothing on.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const MODULES = join(ROOT, 'node_modules');
/** Written after an install that went through; older than the lock file means out of date. */
const MARKERS = [join(MODULES, '.package-lock.json'), join(MODULES, '.pulsegraph-installed')];
/** npm passes a Ctrl-C on that bun has had from the terminal: one press, within this time. */
const ONE_PRESS_MS = 500;

install();
run(findBun(), process.argv.slice(2));

function install() {
  const lockedAt = statSync(join(ROOT, 'package-lock.json')).mtimeMs;
  if (MARKERS.some((marker) => existsSync(marker) && statSync(marker).mtimeMs >= lockedAt)) return;
  const [command, args] = installer();
  console.error(`Installing dependencies: ${[command, ...args].join(' ')}`);
  // On Windows npm is a script, which only a shell runs.
  const shell = process.platform === 'win32';
  const { error, status } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2], shell });
  if (error || status !== 0) {
    fail(`${command} failed (${error?.message ?? `exit code ${status}`}); mend that, start again`);
  }
  const marker = MARKERS[1];
  writeFileSync(marker, '');
  // Another machine's clock (a mounted folder) may have dated the lock file ahead of ours.
  const now = Math.max(Date.now(), lockedAt) / 1000 + 1;
  utimesSync(marker, now, now);
}

/** The package manager that started this script. A production environment must not leave bun out. */
function installer() {
  if (process.versions.bun) return [process.execPath, ['install', '--frozen-lockfile']];
  // `ci` would delete what a process that is already running in this folder still needs.
  const how = existsSync(MODULES) ? ['install', '--no-save'] : ['ci'];
  return [
    'npm',
    [...how, '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'],
  ];
}

/** The path of a bun that runs. npm may skip its postinstall script, which puts it in place. */
function findBun() {
  const placed = join(MODULES, 'bun', 'bin', 'bun.exe');
  if (works(placed)) return placed;
  const script = join(MODULES, 'bun', 'install.js');
  if (existsSync(script)) spawnSync(process.execPath, [script], { cwd: ROOT, stdio: 'ignore' });
  if (works(placed)) return placed;
  const platforms = join(MODULES, '@oven');
  const names = existsSync(platforms) ? readdirSync(platforms) : [];
  for (const file of ['bun', 'bun.exe']) {
    for (const name of names) {
      const unpacked = join(platforms, name, 'bin', file);
      if (works(unpacked)) return unpacked;
    }
  }
  if (process.versions.bun) return process.execPath;
  return fail('no working bun in node_modules: delete node_modules and start again');
}

/** The placeholder is a few hundred bytes of text; more than one platform may be unpacked. */
function works(path) {
  if (!existsSync(path) || statSync(path).size < 1_000_000) return false;
  return spawnSync(path, ['--version'], { stdio: 'ignore' }).status === 0;
}

function run(bun, args) {
  const child = spawn(bun, args, { cwd: ROOT, stdio: 'inherit' });
  child.once('error', (error) => fail(`cannot start ${bun}: ${error.message}`));
  const forwardedAt = {};
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      const isRepeat = performance.now() - (forwardedAt[signal] ?? -Infinity) < ONE_PRESS_MS;
      forwardedAt[signal] = performance.now();
      // The terminal has given its Ctrl-C to bun as well.
      const isFromTerminal = signal === 'SIGINT' && process.stdin.isTTY;
      if (!isRepeat && !isFromTerminal) child.kill(signal);
    });
  }
  child.once('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0));
  });
}

function fail(message) {
  console.error(message);
  return process.exit(1);
}
