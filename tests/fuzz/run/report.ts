import type { DoorResult } from './round.ts';

export interface FuzzReport {
  seed: number;
  doors: readonly DoorResult[];
  memory: { warmMb: number; endMb: number; maxMb: number } | null;
  seconds: number;
}

/** For the process under test, far above what it needs: growth without end is to be seen. */
const MOST_MB = 600;

/** What is wrong, in words, with how to repeat it; empty when all is well. */
export function failuresOf({ seed, doors, memory }: FuzzReport): string[] {
  const found = doors.flatMap(({ findings }) =>
    findings.map(({ door, name, batch, what, input }) => {
      const repeat = `bun run fuzz --seed ${seed} --door ${door} --batch ${batch}`;
      const shown = input === null ? '' : `\n  input: ${input}`;
      return `${door}, ${name}: ${what}${shown}\n  again: ${repeat}`;
    }),
  );
  const grown = memory !== null && memory.maxMb > MOST_MB;
  return grown ? [...found, `${memory.maxMb} MB resident, more than ${MOST_MB}`] : found;
}

/** The table for docs/reliability.md. */
export function tableOf({ doors, memory }: FuzzReport): string {
  const rows = doors.map(({ door, name, isSocket, inputs, seconds, findings }) => [
    door,
    name,
    isSocket ? 'socket' : 'in process',
    inputs,
    Math.round(inputs / Math.max(seconds, 0.001)),
    findings.length,
  ]);
  const sum = (of: (result: DoorResult) => number) =>
    doors.reduce((all, each) => all + of(each), 0);
  const sockets = sum(({ isSocket, inputs }) => (isSocket ? inputs : 0));
  const lines = [
    ['door', 'inputs of which kind', 'where', 'inputs', 'inputs/s', 'findings'],
    ['---', '---', '---', '---', '---', '---'],
    ...rows,
    [
      ...['**all**', '', `${sockets} by socket`, sum(({ inputs }) => inputs)],
      ...['', sum(({ findings }) => findings.length)],
    ],
  ].map((cells) => `| ${cells.join(' | ')} |`);
  if (memory !== null) {
    const { warmMb, endMb, maxMb } = memory;
    lines.push('', `RSS of the process, MB: warm ${warmMb}, end ${endMb}, max ${maxMb}.`);
  }
  return lines.join('\n');
}
