import { Command, CommanderError, Option } from 'commander';
import { integer, positive } from '../../../src/loadtest/option-values.ts';
import type { RoundOptions } from './round.ts';
import type { StackName } from './stage.ts';

export interface ChaosOptions extends RoundOptions {
  stacks: readonly StackName[];
  /** Of the row that is no part of the verdict; 0 leaves it out. */
  mosquittoKills: number;
}

export type Parsed = { kind: 'run'; options: ChaosOptions } | { kind: 'exit'; code: 0 | 2 };

interface Given extends Omit<ChaosOptions, 'stacks' | 'seed'> {
  stack: StackName | 'both';
  seed?: number;
}

const EXPLANATION = `
Examples:
  bun run chaos
  bun run chaos --stack embedded --seed 42 --minutes 2 --faults 30

Starts the stack, drives it with the load test's seeded fleet, and harms it at seeded moments. The
fleet knows what it sent and what must be alerted, so at the end every reading, every transition and
every dead letter is compared. A seed repeats the readings, the faults, their order and moments, but
not the scheduling of the machine.

  embedded   one process with its own broker, log and PostgreSQL, on a small disk (needs root to
             mount it; skipped and said otherwise)
  kafka      two replicas and a third one that comes and goes, on Kafka, Mosquitto, and PostgreSQL
             behind PgBouncer (needs Java, Maven, mosquitto and pgbouncer)

Exit code: 0 all is well; 1 anything lost, duplicated, missed or falsely alerted, a fault that was
not survived, a process left over; 2 it could not run. Linux only.
`;

/** Reads the command line; help and faults are printed here. */
export function parseOptions(argv: readonly string[]): Parsed {
  const command = new Command('bun run chaos')
    .description('Harms the running system in every way there is and proves that nothing is lost.')
    .exitOverride()
    .showHelpAfterError('(--help shows all options)')
    .addOption(
      new Option('--stack <name>', 'what to harm')
        .choices(['embedded', 'kafka', 'both'])
        .default('both'),
    )
    .option('--seed <n>', 'repeats a run (default: a new one, printed)', integer(0, 2 ** 31))
    .option('--minutes <m>', 'time for the faults, each stack', positive, 10)
    .option('--faults <n>', 'faults on each stack', integer(0, 100_000), 100)
    .option('--rate <n>', 'readings a second, all devices', positive, 100)
    .option('--users <n>', 'users of the fleet', integer(1, 999), 10)
    .option('--devices-per-user <n>', 'devices of each user', integer(1, 99), 3)
    .option(
      '--mosquitto-kills <n>',
      'kafka: kill -9 of Mosquitto in a round of its own, which only counts',
      integer(0, 100),
      3,
    )
    .addHelpText('after', EXPLANATION);
  try {
    command.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: 'exit', code: error.exitCode === 0 ? 0 : 2 };
  }
  const { stack, seed = Math.floor(Math.random() * 2 ** 31), ...rest } = command.opts<Given>();
  const stacks: StackName[] = stack === 'both' ? ['embedded', 'kafka'] : [stack];
  return { kind: 'run', options: { ...rest, seed, stacks } };
}
