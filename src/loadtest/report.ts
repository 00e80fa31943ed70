import type { LoadResult } from './judge.ts';
import type { LatencySummary } from './latency.ts';
import type { ReplayResult } from './replay.ts';
import type { AlertVerdict, DoorVerdict } from './verdict.ts';

/** What went wrong, in words with examples; empty when all is well. */
export function loadFailures(result: LoadResult): string[] {
  const { readings, alerts, connections } = result;
  const silent = readings.sent - readings.acknowledged;
  return [
    ...failure('lost: acknowledged, neither stored nor a dead letter', readings.lost),
    ...failure('stored more than once', readings.duplicated),
    ...failure('stored, but not as published', readings.foreign),
    ...failure('dead letters', readings.deadLetters),
    ...alertFailures('stored', alerts.stored),
    ...alertFailures('WebSocket', alerts.webSocket),
    ...alertFailures('MQTT', alerts.mqtt),
    ...(alerts.webSocket.redelivered > 0
      ? [`WebSocket delivered ${alerts.webSocket.redelivered} transitions more than once`]
      : []),
    ...(connections.refused > 0 ? [`the broker refused ${connections.refused} messages`] : []),
    ...(silent > 0 && !result.interrupted ? [`${silent} messages were never acknowledged`] : []),
    ...unsettledFailure(result),
  ];
}

export function replayFailures(result: ReplayResult): string[] {
  const { rows, alerts } = result;
  const names = (numbers: number[]) => numbers.map((number) => `row ${number}`);
  const silent = rows.sent - rows.acknowledged;
  const unsent = rows.inFile - rows.sent;
  return [
    ...failure('lost: acknowledged, neither stored nor a dead letter', names(rows.lost)),
    ...failure('stored more than once', names(rows.duplicated)),
    ...alertFailures('stored', alerts),
    ...(silent > 0 && !result.interrupted ? [`${silent} rows were never acknowledged`] : []),
    ...(unsent > 0 && !result.interrupted ? [`${unsent} rows were never sent`] : []),
    ...unsettledFailure(result),
  ];
}

function alertFailures(where: string, verdict: AlertVerdict): string[] {
  return [
    ...failure(`alerts missed (${where})`, verdict.missed),
    ...failure(`false alerts (${where})`, verdict.false),
    ...failure(`doubled alerts (${where})`, verdict.doubled),
  ];
}

function unsettledFailure({ unsettled }: { unsettled: string[] }): string[] {
  return unsettled.length > 0 ? [`still waiting at the end for ${unsettled.join(', ')}`] : [];
}

const EXAMPLES = 5;

function failure(what: string, which: readonly string[]): string[] {
  if (which.length === 0) return [];
  const more = which.length > EXAMPLES ? `, and ${which.length - EXAMPLES} more` : '';
  return [`${which.length} ${what}: ${which.slice(0, EXAMPLES).join('; ')}${more}`];
}

type Row = [label: string, ...cells: (string | number)[]];

export function loadReport(result: LoadResult): string {
  const { readings, alerts, latencyMs, connections } = result;
  const perSecond = readings.acknowledged / Math.max(result.publishSeconds, 0.001);
  const door = (label: string, verdict: AlertVerdict | DoorVerdict): Row => [
    label,
    verdict.expected,
    verdict.received,
    verdict.missed.length,
    verdict.false.length,
    verdict.doubled.length,
    'redelivered' in verdict ? verdict.redelivered : '',
  ];
  const sampled = latencyMs.storedSampledDevices;
  return [
    `${result.run}: ${result.devices} devices of ${result.users} ${result.users === 1 ? 'user' : 'users'}, seed ${result.seed}, ` +
      `${perSecond.toFixed(1)} of ${result.rate} messages/s ` +
      `for ${result.publishSeconds.toFixed(1)} s`,
    '',
    ...table([
      ['readings', ''],
      ['sent', readings.sent],
      ['acknowledged', readings.acknowledged],
      ['stored', readings.stored],
      ['lost', readings.lost.length],
      ['duplicated', readings.duplicated.length],
      ['not as published', readings.foreign.length],
      ['dead-lettered', readings.deadLetters.length],
    ]),
    '',
    ...table([
      ['alerts', 'expected', 'received', 'missed', 'false', 'doubled', 'redelivered'],
      door('stored episodes', alerts.stored),
      door('transitions, WebSocket', alerts.webSocket),
      door('transitions, MQTT', alerts.mqtt),
    ]),
    '',
    ...table([
      ['latency, ms', 'count', 'p50', 'p95', 'p99', 'max'],
      latency(`publish -> stored (${sampled} devices sampled)`, latencyMs.stored),
      latency('publish -> alert, WebSocket', latencyMs.webSocket),
      latency('publish -> alert, MQTT', latencyMs.mqtt),
    ]),
    '',
    `${connections.connections} connections; reconnects: devices ${connections.reconnects}, ` +
      `WebSocket ${connections.webSocketReconnects}, ` +
      `MQTT alerts ${connections.mqttAlertReconnects}`,
    ...conclusion(loadFailures(result), result.interrupted),
  ].join('\n');
}

export function replayReport(result: ReplayResult): string {
  const { rows, alerts, malformed } = result;
  const perSecond = rows.acknowledged / Math.max(result.publishSeconds, 0.001);
  return [
    `${result.file} as ${result.userId}/${result.deviceId}: ${perSecond.toFixed(0)} rows/s ` +
      `for ${result.publishSeconds.toFixed(1)} s, ${result.reconnects} reconnects`,
    ...malformed.slice(0, EXAMPLES).map(({ line, reason }) => `  line ${line} left out: ${reason}`),
    ...(malformed.length > EXAMPLES ? [`  and ${malformed.length - EXAMPLES} more lines`] : []),
    ...failure('rows refused by the server', rows.deadLetters).map((text) => `  ${text}`),
    '',
    ...table([
      ['rows', ''],
      ['in the file', rows.inFile],
      ['malformed', malformed.length],
      ['late', rows.late],
      ['sent', rows.sent],
      ['acknowledged', rows.acknowledged],
      ['already stored', rows.alreadyStored],
      ['newly stored', rows.newlyStored],
      ['stored', rows.stored],
      ['lost', rows.lost.length],
      ['duplicated', rows.duplicated.length],
      ['dead-lettered', rows.deadLetters.length],
    ]),
    '',
    result.rules.length === 0 ? 'No rules are set.' : `Rules: ${result.rules.join('; ')}`,
    ...table([
      ['alerts', 'expected', 'agreeing', 'missed', 'false', 'doubled', 'already', 'new'],
      [
        'stored episodes',
        alerts.expected,
        alerts.received,
        alerts.missed.length,
        alerts.false.length,
        alerts.doubled.length,
        alerts.alreadyStored,
        alerts.newlyStored,
      ],
    ]),
    '',
    ...conclusion(replayFailures(result), result.interrupted),
  ].join('\n');
}

function latency(label: string, summary: LatencySummary | null): Row {
  if (summary === null) return [label, 0, '-', '-', '-', '-'];
  const { count, p50, p95, p99, max } = summary;
  return [label, count, ...[p50, p95, p99, max].map((value) => value.toFixed(1))];
}

/** Labels to the left, cells to the right, columns two blanks apart. */
function table(rows: Row[]): string[] {
  const text = rows.map((row) => row.map((cell) => format(cell)));
  const columns = Math.max(...text.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...text.map((row) => row[column]?.length ?? 0)),
  );
  return text.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column === 0 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

function format(cell: string | number): string {
  return typeof cell === 'number' ? cell.toLocaleString('en-US') : cell;
}

function conclusion(failures: string[], interrupted: boolean): string[] {
  const early = interrupted ? ' (ended early)' : '';
  if (failures.length === 0) return [`OK${early}: nothing lost, nothing twice, every alert once.`];
  return [`FAILED${early}:`, ...failures.map((text) => `  ${text}`)];
}
