/**
 * Adds to package-lock.json the platform packages that its registry did not have, as their parents
 * pin them: `npm ci` refuses a lock file that lacks one, on every platform. Run it after a change of
 * dependencies whose lock file a test finds incomplete.
 */
import { join } from 'node:path';

interface Entry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}
export interface Lock {
  packages: Record<string, Entry>;
}

export const LOCK_FILE = join(import.meta.dirname, '..', 'package-lock.json');

const OS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32', 'windows'];
const CPU = ['arm64', 'aarch64', 'arm', 'x64', 'ia32', 'ppc64', 'riscv64', 's390x', 'wasm32'];

/** `[parent, name, version]` of each optional dependency that the lock file names and lacks. */
export function missingPackages(lock: Lock): [string, string, string][] {
  return Object.entries(lock.packages).flatMap(([path, entry]) =>
    Object.entries(entry.optionalDependencies ?? {})
      .filter(([name]) => !isLocked(lock, path, name))
      .map(([name, version]): [string, string, string] => [path, name, version]),
  );
}

/** As Node resolves it: beside the parent, or in any node_modules above. */
function isLocked(lock: Lock, parent: string, name: string): boolean {
  for (let path = parent; ; path = path.replace(/(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/]+$/, '')) {
    if (`${path}${path && '/'}node_modules/${name}` in lock.packages) return true;
    if (path === '') return false;
  }
}

/** What a registry would say of it, read off its name: `@oxlint/binding-linux-x64-musl`. */
function platformEntry(parent: Entry, name: string, version: string): Entry {
  const words = name.replace(/^.*\//, '').split('-');
  const os = words.find((word) => OS.includes(word));
  const cpu = words.find((word) => CPU.includes(word));
  if (!/^\d+\.\d+\.\d+/.test(version) || os === undefined || cpu === undefined) {
    throw new Error(`${name}@${version} is no platform package: install it by hand`);
  }
  const libc = words.includes('musl') ? 'musl' : words.includes('gnu') ? 'glibc' : null;
  return {
    version,
    cpu: [cpu === 'aarch64' ? 'arm64' : cpu],
    ...(parent.dev ? { dev: true } : {}),
    ...(os === 'linux' && libc !== null ? { libc: [libc] } : {}),
    optional: true,
    os: [os === 'windows' ? 'win32' : os],
  };
}

if (import.meta.main) {
  const lock = (await Bun.file(LOCK_FILE).json()) as Lock;
  const missing = missingPackages(lock);
  for (const [parent, name, version] of missing) {
    const entry = platformEntry(lock.packages[parent] ?? {}, name, version);
    lock.packages[`node_modules/${name}`] = entry;
  }
  const sorted = Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, 'en'));
  lock.packages = Object.fromEntries(sorted);
  await Bun.write(LOCK_FILE, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`added ${missing.length} packages`);
}
