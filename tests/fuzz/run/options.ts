import { Command, CommanderError, Option } from 'commander';
import { integer } from '../../../src/loadtest/option-values.ts';
import { DOORS, type DoorName } from './fuzz.ts';

export interface FuzzOptions {
  seed: number;
  /** Of all doors together. */
  inputs: number;
  doors: readonly DoorName[];
  /** Only the n-th batch of each fuzz, to repeat it. */
  batch: number | null;
  /** A file for the figures. */
  json: string | null;
}

export type Parsed = { kind: 'run'; options: FuzzOptions } | { kind: 'exit'; code: 0 | 2 };

interface Given {
  seed?: number;
  inputs: number;
  door: DoorName | 'all';
  batch?: number;
  json?: string;
}

const EXPLANATION = `
Examples:
  bun run fuzz
  bun run fuzz --seed 42 --inputs 20000 --door graphql
  bun run fuzz --seed 42 --door graphql --batch 7      (one batch again, as a finding names it)

Starts the process with its embedded parts and logins on, and sends it what nobody should: raw
bytes, and valid messages that are damaged. After each batch a valid reading must still become an
alert. Another user's secrets must be in no answer, and each unexpected error in the log counts.

Exit code: 0 nothing was found; 1 findings; 2 it could not run.
`;

/** Reads the command line; help and faults are printed here. */
export function parseOptions(argv: readonly string[]): Parsed {
  const command = new Command('bun run fuzz')
    .description('Sends every door of the running system what nobody should send.')
    .exitOverride()
    .showHelpAfterError('(--help shows all options)')
    .option('--seed <n>', 'repeats a run (default: a new one, printed)', integer(0, 2 ** 31))
    .option('--inputs <n>', 'of all doors together', integer(1, 1_000_000_000), 100_000)
    .addOption(new Option('--door <name>', 'which door').choices([...DOORS, 'all']).default('all'))
    .option('--batch <n>', 'only this batch of each door', integer(0, 2 ** 31))
    .option('--json <file>', 'writes the figures there too')
    .addHelpText('after', EXPLANATION);
  try {
    command.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: 'exit', code: error.exitCode === 0 ? 0 : 2 };
  }
  const { seed = Math.floor(Math.random() * 2 ** 31), door, ...rest } = command.opts<Given>();
  const doors = door === 'all' ? DOORS : [door];
  const { inputs, batch = null, json = null } = rest;
  return { kind: 'run', options: { seed, inputs, doors, batch, json } };
}
