import { useEffect, useMemo, useState } from 'preact/hooks';
import { Act, Facts, Notice, SeverityBadge } from '../components/bits.tsx';
import { Chart } from '../components/chart.tsx';
import { put } from '../state/alerts.ts';
import { request, wordsOf } from '../state/api.ts';
import { ACKNOWLEDGE, ALERT_DETAIL, SNOOZE, UNSNOOZE } from '../state/documents.ts';
import { dateTime, show } from '../state/format.ts';
import { poll } from '../state/live.ts';
import { linkTo } from '../state/router.ts';
import { conditionOf, thresholdsOf } from '../state/rules.ts';
import { chooseUser } from '../state/session.ts';
import { type Chartable, loadSeries } from '../state/telemetry.ts';
import type { Alert, AlertDetail } from '../state/types.ts';
import { sinceText, stateOf } from './alerts.tsx';

const DETAIL_MS = 3_000;
const SNOOZES = [
  ['15 min', 'PT15M'],
  ['1 hour', 'PT1H'],
  ['8 hours', 'PT8H'],
  ['1 day', 'P1D'],
  ['1 week', 'P1W'],
] as const;

export function AlertDetailView({ id }: { id: string }) {
  const [alert, setAlert] = useState<AlertDetail | null>(null);
  const [fault, setFault] = useState('');
  const read = async () => {
    try {
      const answer = await request<{ alert: AlertDetail | null }>(ALERT_DETAIL, { id });
      setAlert(answer.alert);
      setFault(answer.alert === null ? 'There is no such alert, or it is past its retention.' : '');
    } catch (error) {
      setFault(wordsOf(error));
    }
  };
  useEffect(() => poll(read, DETAIL_MS), [id]);
  const change = async (document: string, variables: object) => {
    const answer = await request<Record<string, Alert>>(document, { id, ...variables });
    for (const changed of Object.values(answer)) put(changed);
    await read();
  };
  return (
    <article class="panel detail" aria-label="Alert">
      <a class="close" href={linkTo('alerts')}>
        Close
      </a>
      {fault !== '' && <Notice kind="bad">{fault}</Notice>}
      {alert !== null && (
        <>
          <header>
            <SeverityBadge severity={alert.severity} /> <span class="badge">{stateOf(alert)}</span>
            <h2>{alert.message}</h2>
            <p class="hint">
              <a href={linkTo('devices', alert.user.id, alert.device.deviceId)}>
                {alert.device.deviceId}
              </a>{' '}
              of {alert.user.id}, since {dateTime(alert.startedAt)}, {sinceText(alert)}
            </p>
          </header>
          <Actions alert={alert} change={change} />
          <Moment alert={alert} />
          <Evidence alert={alert} />
          <Events alert={alert} />
        </>
      )}
    </article>
  );
}

interface ActionsProps {
  alert: AlertDetail;
  change: (document: string, variables: object) => Promise<void>;
}

function Actions({ alert, change }: ActionsProps) {
  const [length, setLength] = useState<string>('PT1H');
  const until = alert.snoozedUntil;
  const isSnoozed = until !== null && Date.parse(until) > Date.now();
  return (
    <div class="actions">
      {alert.acknowledgedAt === null ? (
        <Act class="primary" run={() => change(ACKNOWLEDGE, {})}>
          Acknowledge
        </Act>
      ) : (
        <span class="hint">
          {alert.acknowledgedBy} sees to it since {dateTime(alert.acknowledgedAt)}
        </span>
      )}
      {isSnoozed ? (
        <>
          <Act run={() => change(UNSNOOZE, {})}>End the snooze</Act>
          <span class="hint">snoozed until {dateTime(until)}</span>
        </>
      ) : (
        <span class="together">
          <select
            aria-label="Snooze for"
            value={length}
            onChange={({ currentTarget }) => setLength(currentTarget.value)}
          >
            {SNOOZES.map(([name, duration]) => (
              <option key={duration} value={duration}>
                {name}
              </option>
            ))}
          </select>
          <Act run={() => change(SNOOZE, { for: length })}>Snooze</Act>
        </span>
      )}
    </div>
  );
}

/** The key's values before, during and after. */
function Moment({ alert }: { alert: AlertDetail }) {
  const [series, setSeries] = useState<Chartable | null>(null);
  const { key, startedAt, resolvedAt, status, severity } = alert;
  const from = Date.parse(startedAt) / 1_000;
  const end =
    resolvedAt === null ? Date.parse(alert.lastSeenAt) / 1_000 : Date.parse(resolvedAt) / 1_000;
  const margin = Math.min(Math.max((end - from) * 0.5, 300), 86_400);
  const range = useMemo(() => ({ from: from - margin, to: end + margin }), [from, end, margin]);
  const { userId, deviceId } = { userId: alert.user.id, deviceId: alert.device.deviceId };
  useEffect(() => {
    if (key === null) return;
    let isOver = false;
    loadSeries({ userId, deviceId }, [key], range, 400).then(
      ([one]) => !isOver && setSeries(one ?? null),
      () => {},
    );
    return () => {
      isOver = true;
    };
  }, [userId, deviceId, key, range]);
  if (key === null || series === null) return null;
  return (
    <figure>
      <figcaption>
        <strong>{key}</strong> <span class="hint">around the moment</span>
      </figcaption>
      <Chart
        label={`${key} around the alert`}
        data={series.data}
        {...range}
        thresholds={thresholdsOf([alert], key)}
        shades={[{ from, to: status === 'FIRING' ? null : end, severity }]}
      />
    </figure>
  );
}

function Evidence({ alert }: { alert: AlertDetail }) {
  const { evidence } = alert;
  const kind = alert.key === null ? 'NO_DATA' : 'THRESHOLD';
  return (
    <section>
      <h3>Evidence</h3>
      <Facts
        rows={[
          [
            'Rule',
            <a
              key="rule"
              href={linkTo('rules', alert.ruleId)}
              onClick={() => chooseUser(alert.user.id)}
            >
              {kind === 'THRESHOLD' ? conditionOf({ ...alert, kind }) : alert.ruleId}
            </a>,
          ],
          ['Rules version', alert.ruleVersion],
          ['Newest value', show(alert.value)],
          ['Holding since', dateTime(evidence.holdingSince)],
          [
            'Reading of',
            evidence.eventTime === null ? 'none: silence' : dateTime(evidence.eventTime),
          ],
          ['Arrived', dateTime(evidence.arrivalTime)],
          ['In the log', `partition ${evidence.partition}, offset ${evidence.offset}`],
          ['Sequence', evidence.sequenceId ?? '–'],
          ...(alert.resolveReason === null
            ? []
            : [['Ended by', wordOf(alert.resolveReason)] as const]),
        ]}
      />
    </section>
  );
}

function Events({ alert }: { alert: AlertDetail }) {
  return (
    <section>
      <h3>What happened</h3>
      <ol class="events">
        {alert.events.map(({ seq, type, time, actor, value }) => (
          <li key={seq}>
            <span class="hint">{dateTime(time)}</span> {wordOf(type)}
            {actor === null ? '' : ` by ${actor}`}
            {value === null ? '' : ` at ${show(value)}`}
          </li>
        ))}
      </ol>
    </section>
  );
}

const wordOf = (name: string) => name.replaceAll('_', ' ').toLowerCase();
