import { Command, CommanderError, InvalidArgumentError } from 'commander';

export interface NewModel {
  /** `my-domain`: lower-case words with hyphens between them. */
  name: string;
  /** Folder of the model file, from the working directory. */
  folder: string;
}

type Parsed = { kind: 'write'; request: NewModel } | { kind: 'exit'; code: 0 | 2 };

const EXAMPLES = `
Examples:
  bun src/new-model my-domain
  bun src/new-model my-domain --dir ../my-domain

It writes model.ts, which runs as it is, and README.md with the first steps. Change the columns, the
topic and the rules to those of your data; docs/models.md describes all that can stand there.`;

/** With what is added to it, a table's name has room for it. */
const MAX_NAME_LENGTH = 32;
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/** Reads the command line. Help and faults are printed here, a fault names the argument. */
export function parseOptions(
  argv: readonly string[],
  write: { out: (text: string) => void; err: (text: string) => void },
): Parsed {
  const command = new Command('bun src/new-model')
    .description('Begins a model of your own data: a commented file that runs at once.')
    .exitOverride()
    .configureOutput({ writeOut: write.out, writeErr: write.err })
    .showHelpAfterError('(--help shows all options)')
    .argument('<name>', 'of the domain: packages, market-ticks', name)
    .option('--dir <folder>', 'where to write it; models/<name> where it is left out')
    .addHelpText('after', EXAMPLES);
  try {
    command.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: 'exit', code: error.exitCode === 0 ? 0 : 2 };
  }
  const [given = ''] = command.processedArgs as string[];
  const { dir = `models/${given}` } = command.opts<{ dir?: string }>();
  return { kind: 'write', request: { name: given, folder: dir } };
}

function name(text: string): string {
  if (NAME.test(text) && text.length <= MAX_NAME_LENGTH) return text;
  throw new InvalidArgumentError(
    `Write lower-case letters and digits, with hyphens between words, up to ${MAX_NAME_LENGTH}: market-ticks.`,
  );
}
