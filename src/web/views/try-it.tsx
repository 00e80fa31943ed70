import { useEffect, useRef, useState } from 'preact/hooks';
import { Act, Command, Notice, Panel } from '../components/bits.tsx';
import { PickUser } from '../components/pick-user.tsx';
import { alerts } from '../state/alerts.ts';
import { ApiError, request } from '../state/api.ts';
import { PUBLISH } from '../state/documents.ts';
import { columnNames, model } from '../state/model.ts';
import { followReadings } from '../state/readings.ts';
import { linkTo } from '../state/router.ts';
import { userId } from '../state/session.ts';
import type { Alert, Reading } from '../state/types.ts';

export function TryItView() {
  const user = userId.value;
  if (user === null) return <PickUser what="device" />;
  return <TryIt key={user} user={user} />;
}

/** When each stage was seen, ms after it was sent. */
interface Journey {
  /** Of the reading, epoch ms. */
  time: number;
  sentAt: number;
  acceptedMs: number | null;
  storedMs: number | null;
  alerts: { alert: Alert; ms: number }[];
}

function TryIt({ user }: { user: string }) {
  const [deviceId, setDevice] = useState('try_it');
  const [fields, setFields] = useState<Record<string, string>>(startingFields);
  const [extra, setExtra] = useState('{ "pressure": 101.5 }');
  const [faults, setFaults] = useState<string[]>([]);
  const [journey, setJourney] = useState<Journey | null>(null);
  const current = useRef<Journey | null>(null);
  const update = (change: (journey: Journey) => Journey) => {
    if (current.current === null) return;
    current.current = change(current.current);
    setJourney(current.current);
  };
  useStored(user, deviceId, (reading) =>
    update((one) =>
      one.time === Date.parse(reading.time) && one.storedMs === null
        ? { ...one, storedMs: performance.now() - one.sentAt }
        : one,
    ),
  );
  const before = useRef(new Map<string, Alert>());
  useEffect(() => {
    const own = alerts.value.filter(
      ({ device, user: of }) => device.deviceId === deviceId && of.id === user,
    );
    const moved = own.filter(({ id, status }) => before.current.get(id)?.status !== status);
    before.current = new Map(own.map((alert) => [alert.id, alert]));
    update((one) => {
      const ms = performance.now() - one.sentAt;
      return { ...one, alerts: [...one.alerts, ...moved.map((alert) => ({ alert, ms }))] };
    });
  }, [alerts.value, deviceId]);

  const publish = async () => {
    setFaults([]);
    const reading = readingOf(fields, extra);
    current.current = {
      time: reading.time,
      sentAt: performance.now(),
      acceptedMs: null,
      storedMs: null,
      alerts: [],
    };
    try {
      await request(PUBLISH, { userId: user, deviceId, reading });
      update((one) => ({ ...one, acceptedMs: performance.now() - one.sentAt }));
    } catch (error) {
      current.current = null;
      setJourney(null);
      if (!(error instanceof ApiError) || error.issues.length === 0) throw error;
      setFaults(error.issues.map(({ message }) => message));
    }
  };
  return (
    <div class="two">
      <h1 class="hidden">Try it</h1>
      <Panel title="Publish a reading">
        <form class="form" onSubmit={(event) => event.preventDefault()}>
          <label class="field">
            Device
            <input
              value={deviceId}
              onInput={({ currentTarget }) => setDevice(currentTarget.value)}
            />
          </label>
          {columnNames.map((name) => (
            <label class="field" key={name}>
              {name}
              <input
                value={fields[name] ?? ''}
                onInput={({ currentTarget }) =>
                  setFields({ ...fields, [name]: currentTarget.value })
                }
              />
            </label>
          ))}
          <label class="field wide">
            Any other fields, as JSON
            <textarea
              class="code"
              rows={3}
              value={extra}
              spellcheck={false}
              onInput={({ currentTarget }) => setExtra(currentTarget.value)}
            />
          </label>
        </form>
        {faults.map((fault) => (
          <Notice key={fault} kind="bad">
            {fault}
          </Notice>
        ))}
        <div class="actions">
          <Act class="primary" run={publish}>
            Publish
          </Act>
          <a href={linkTo('rules', 'new')}>Write a rule that it crosses</a>
          <a href="/graphql">Open GraphiQL</a>
        </div>
        <p class="hint">The same from a shell, as a device would send it:</p>
        <Command text={shellLine(user, deviceId, fields)} />
      </Panel>
      <Panel title="Its way">
        {journey === null ? (
          <p class="hint padded">Publish one, and see it come through.</p>
        ) : (
          <Stages journey={journey} user={user} deviceId={deviceId} />
        )}
      </Panel>
    </div>
  );
}

function useStored(user: string, deviceId: string, seen: (reading: Reading) => void): void {
  const latest = useRef(seen);
  latest.current = seen;
  useEffect(() => {
    if (deviceId === '') return;
    return followReadings({ userId: user, deviceId }, (readings) => {
      for (const reading of readings) latest.current(reading);
    });
  }, [user, deviceId]);
}

function Stages({ journey, user, deviceId }: { journey: Journey; user: string; deviceId: string }) {
  const { acceptedMs, storedMs } = journey;
  return (
    <ol class="stages" aria-live="polite">
      <Stage title="In the log, on disk" ms={acceptedMs} />
      <Stage title="Stored in the database, and judged" ms={storedMs} />
      {journey.alerts.map(({ alert, ms }) => (
        <Stage
          key={alert.id + alert.status}
          title={alert.status === 'FIRING' ? 'Alert fired' : 'Alert resolved'}
          ms={ms}
        >
          <a href={linkTo('alerts', alert.id)}>{alert.message}</a>
        </Stage>
      ))}
      {storedMs !== null && (
        <li class="stage">
          <a href={linkTo('devices', user, deviceId)}>See it in the chart of {deviceId}</a>
        </li>
      )}
    </ol>
  );
}

function Stage(props: { title: string; ms: number | null; children?: preact.ComponentChildren }) {
  return (
    <li class={`stage ${props.ms === null ? 'waiting' : 'done'}`}>
      <strong>{props.title}</strong>{' '}
      <span class="hint">{props.ms === null ? 'waiting' : `after ${Math.round(props.ms)} ms`}</span>
      {props.children && <div>{props.children}</div>}
    </li>
  );
}

function startingFields(): Record<string, string> {
  const middle = (min = 0, max = 100) => String(Math.round(min + Math.min(max - min, 170) / 2));
  return Object.fromEntries(
    columnNames.map((name) => {
      const { type, min, max, values } = model.columns[name] ?? { type: 'text' };
      if (type === 'text') return [name, values?.[0] ?? ''];
      if (type === 'boolean') return [name, 'false'];
      if (type === 'point') return [name, '{ "latitude": 52.52, "longitude": 13.405 }'];
      return [name, min !== undefined && min < 0 ? '85.5' : middle(min, max)];
    }),
  );
}

/** @throws SyntaxError where the other fields are no JSON */
function readingOf(fields: Record<string, string>, extra: string) {
  const values = Object.entries(fields)
    .filter(([, text]) => text.trim() !== '')
    .map(([name, text]) => [name, parsed(name, text.trim())]);
  const others = extra.trim() === '' ? {} : JSON.parse(extra);
  const time = Date.now();
  const sequence = model.sequence === null ? {} : { [model.sequence.column]: time };
  return { ...others, ...Object.fromEntries(values), ...sequence, time };
}

function parsed(name: string, text: string): unknown {
  const type = model.columns[name]?.type;
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  if (type === 'text') return text;
  if (type === 'point') return pointIn(text);
  return Number.isNaN(Number(text)) ? text : Number(text);
}

/** What is no JSON goes as it is: the server says what a point looks like. */
function pointIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function shellLine(user: string, deviceId: string, fields: Record<string, string>): string {
  const { owner, device, sequence } = model;
  const ofDevice = model.topic.replace(`{${device.column}}`, deviceId);
  const topic = 'column' in owner ? ofDevice.replace(`{${owner.column}}`, user) : ofDevice;
  const number = sequence === null ? '' : `, "${sequence.column}": 1`;
  const values = Object.entries(fields)
    .filter(([, text]) => text.trim() !== '')
    .map(([name, text]) => `, "${name}": ${JSON.stringify(parsed(name, text.trim()))}`);
  const rest = quoted(`${number}${values.join('')}}`);
  return `npx mqtt pub -h 127.0.0.1 -q 1 -t ${quoted(topic)} -m '{"time": '$(date +%s)${rest}`;
}

/** As a shell takes it, whatever is in it. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
