import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parseOptions } from './options.ts';
import { modelText, readmeText } from './templates.ts';

/** `bun src/new-model`: 0 written, 1 it can't be written there, 2 an argument is wrong. */
const REFUSED = 1;
const DOMAIN = join(import.meta.dir, '..', 'domain', 'model.ts');

function main(): number {
  const parsed = parseOptions(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
  if (parsed.kind === 'exit') return parsed.code;
  const { name, folder } = parsed.request;
  const place = {
    name,
    settings: `DATA_DIR=${quoted(join(folder, 'data'))} MODEL=${quoted(join(folder, 'model.ts'))}`,
    importPath: importPath(resolve(folder)),
  };
  const texts = { 'model.ts': modelText(place), 'README.md': readmeText(place) };
  const files = Object.entries(texts).map(([file, text]) => ({ path: join(folder, file), text }));
  const there = files.find(({ path }) => existsSync(path));
  if (there !== undefined) {
    process.stderr.write(
      `${there.path}: is there already; choose another name, or another --dir\n`,
    );
    return REFUSED;
  }
  try {
    mkdirSync(folder, { recursive: true });
    for (const { path, text } of files) writeFileSync(path, text, { flag: 'wx' });
  } catch (error) {
    process.stderr.write(`${folder}: ${(error as Error).message}; choose another --dir\n`);
    return REFUSED;
  }
  process.stdout.write(
    `wrote ${files.map(({ path }) => path).join(' and ')}; start it as it is:\n\n` +
      `    ${place.settings} bun run src/index.ts\n`,
  );
  return 0;
}

/** As a file in the folder imports it, with slashes on every system. */
function importPath(folder: string): string {
  const path = relative(folder, DOMAIN).replaceAll('\\', '/');
  return path.startsWith('.') ? path : `./${path}`;
}

/** For a POSIX shell. */
function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

process.exitCode = main();
