import { loadFailures } from '../../../src/loadtest/report.ts';
import type { RoundResult } from './round.ts';
import type { StackName } from './stage.ts';

export interface StackResult {
  stack: StackName;
  seconds: number;
  round: RoundResult;
  /** kill -9 of the outside broker, where it was run. */
  beyond: RoundResult | null;
  memory: { warmMb: number; endMb: number; maxMb: number };
  skipped: readonly string[];
  leftOver: readonly string[];
}

/** For one process, far above what it needs: growth without end is to be seen, not a few MB. */
const MOST_MB = 500;
const EXAMPLES = 5;

/** What is wrong, in words; empty when all is well. */
export function failuresOf(result: StackResult): string[] {
  const { round, memory, leftOver } = result;
  const { load, mix, slow, outcomes } = round;
  // What the load test does not know of is judged by who sent it.
  const readings = { ...load.readings, foreign: mix.foreign, deadLetters: mix.wrongLetters };
  const harmed = outcomes.filter(
    ({ error, backAfterMs }) => error !== null || backAfterMs === null,
  );
  return [
    ...loadFailures({ ...load, readings }),
    ...some('mixed-in readings lost', mix.lost),
    ...some('mixed-in readings stored twice', mix.duplicated),
    ...some('bad messages without a dead letter', mix.missingLetters),
    ...some('dead letters too many', mix.doubledLetters),
    ...Object.entries(slow).flatMap(([door, { missed, false: wrong, doubled }]) => [
      ...some(`alerts missed (slow ${door})`, missed),
      ...some(`false alerts (slow ${door})`, wrong),
      ...some(`doubled alerts (slow ${door})`, doubled),
    ]),
    ...some(
      'faults not survived',
      harmed.map(
        ({ number, name, error }) => `${number} ${name} (${error ?? 'no reading stored'})`,
      ),
    ),
    ...some('processes left over', leftOver),
    ...(memory.maxMb > MOST_MB ? [`${memory.maxMb} MB resident, more than ${MOST_MB}`] : []),
  ];
}

function some(what: string, which: readonly string[]): string[] {
  if (which.length === 0) return [];
  return [`${which.length} ${what}: ${which.slice(0, EXAMPLES).join('; ')}`];
}

type Row = readonly (string | number)[];

/** The tables for docs/reliability.md. */
export function reportOf(results: readonly StackResult[]): string {
  return [
    markdown(
      ['fault', 'stack', 'injected', 'survived', 'back after, s (median, max)'],
      faultRows(results),
    ),
    markdown(['', ...results.map(({ stack }) => stack)], verdictRows(results)),
    ...results.flatMap(({ skipped }) => skipped.map((why) => `Skipped: ${why}.`)),
    ...results.flatMap(beyondLine),
  ].join('\n\n');
}

function faultRows(results: readonly StackResult[]): Row[] {
  return results.flatMap(({ stack, round }) => {
    const byName = Map.groupBy(round.outcomes, ({ name }) => name);
    return [...byName]
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([name, outcomes]) => {
        const survived = outcomes.filter(
          ({ error, backAfterMs }) => error === null && backAfterMs !== null,
        );
        const times = survived
          .map(({ backAfterMs }) => (backAfterMs as number) / 1000)
          .sort((a, b) => a - b);
        const median = times[times.length >> 1] ?? 0;
        const back = `${median.toFixed(1)}, ${(times.at(-1) ?? 0).toFixed(1)}`;
        return [name, stack, outcomes.length, survived.length, back];
      });
  });
}

function verdictRows(results: readonly StackResult[]): Row[] {
  const row = (label: string, of: (result: StackResult) => string | number): Row => [
    label,
    ...results.map(of),
  ];
  const doors = ({ round: { load, slow } }: StackResult) => [
    load.alerts.webSocket,
    load.alerts.mqtt,
    slow.webSocket,
    slow.mqtt,
  ];
  const worst = (of: 'missed' | 'false' | 'doubled') => (result: StackResult) => {
    const all = [result.round.load.alerts.stored, ...doors(result)];
    return all.reduce((sum, verdict) => sum + verdict[of].length, 0);
  };
  return [
    row('seconds', ({ seconds }) => Math.round(seconds)),
    row('faults injected', ({ round }) => round.outcomes.length),
    row('readings acknowledged', ({ round }) => round.load.readings.acknowledged),
    row('readings stored', ({ round }) => round.load.readings.stored),
    row('**lost**', ({ round }) => round.load.readings.lost.length + round.mix.lost.length),
    row(
      '**duplicated**',
      ({ round }) => round.load.readings.duplicated.length + round.mix.duplicated.length,
    ),
    row('late / future readings mixed in', ({ round: { mix } }) => `${mix.late} / ${mix.ahead}`),
    row(
      'bad messages / of them dead letters',
      ({ round: { mix } }) => `${mix.bad} / ${mix.bad - mix.missingLetters.length}`,
    ),
    row('dead letters again, sent twice by QoS 1', ({ round: { mix } }) => mix.redelivered),
    row(
      'alerts expected / stored right',
      ({ round: { load } }) => `${load.alerts.stored.expected} / ${load.alerts.stored.received}`,
    ),
    row('transitions expected', ({ round: { load } }) => load.alerts.webSocket.expected),
    row('received: WebSocket, MQTT, slow WebSocket, slow MQTT', (result) =>
      doors(result)
        .map(({ received }) => received)
        .join(', '),
    ),
    row('**missed** (stored and all doors)', worst('missed')),
    row('**false** (stored and all doors)', worst('false')),
    row('**doubled** (stored and all doors)', worst('doubled')),
    row(
      'transitions again on MQTT, by QoS 1',
      ({ round: { load } }) => load.alerts.mqtt.redelivered,
    ),
    row(
      'RSS of a process, MB: warm, end, max',
      ({ memory: { warmMb, endMb, maxMb } }) => `${warmMb}, ${endMb}, ${maxMb}`,
    ),
    row('**processes left over**', ({ leftOver }) => leftOver.length),
  ];
}

function beyondLine({ beyond }: StackResult): string[] {
  if (beyond === null) return [];
  const { readings, alerts } = beyond.load;
  const { lost, acknowledged } = readings;
  return [
    `Beyond the promise: kill -9 of Mosquitto, ${beyond.outcomes.length} times: of ${acknowledged} ` +
      `readings that it acknowledged it never delivered ${lost.length}; transitions never delivered to ` +
      `the MQTT listener: ${alerts.mqtt.missed.length} of ${alerts.mqtt.expected}, stored twice: ` +
      `${readings.duplicated.length}.`,
  ];
}

function markdown(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
