import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Empty, Facts, Notice, Panel } from '../components/bits.tsx';
import { request, wordsOf } from '../state/api.ts';
import { device as deviceDocument, EXPLAIN } from '../state/documents.ts';
import { age, dateTime, show } from '../state/format.ts';
import { poll } from '../state/live.ts';
import { numericKeys, readingFields, valuesOf } from '../state/model.ts';
import { followReadings } from '../state/readings.ts';
import { linkTo } from '../state/router.ts';
import type { Page, Reading } from '../state/types.ts';
import { DeviceCharts } from './device-charts.tsx';
import { type Explained, ExplainedRules } from './explained-rules.tsx';

interface Device {
  firstSeenAt: string;
  lastSeenAt: string | null;
  readings: Page<Reading>;
}

const EXPLAIN_MS = 3_000;
const RAW_ROWS = 50;

export function DeviceView({ userId, deviceId }: { userId: string; deviceId: string }) {
  const [device, setDevice] = useState<Device | null>(null);
  const [fault, setFault] = useState('');
  const [isUnknown, setUnknown] = useState(false);
  const [explained, setExplained] = useState<Explained[]>([]);
  const [readings, setReadings] = useState<Reading[]>([]);
  const newest = useRef<Reading[]>([]);
  const names = useMemo(() => ({ userId, deviceId }), [userId, deviceId]);

  useEffect(() => {
    const read = poll(async () => {
      try {
        const query = deviceDocument(readingFields);
        const answer = await request<{ user: { device: Device | null } | null }>(query, names);
        const found = answer.user?.device ?? null;
        setFault('');
        setUnknown(found === null);
        if (found === null) return;
        setDevice(found);
        newest.current = found.readings.nodes;
        setReadings(newest.current);
      } catch (error) {
        setFault(wordsOf(error));
      }
    }, 15_000);
    const explain = poll(async () => {
      type Answer = { user: { device: { explainRules: Explained[] } | null } | null };
      const answer = await request<Answer>(EXPLAIN, names);
      setExplained(answer.user?.device?.explainRules ?? []);
    }, EXPLAIN_MS);
    return () => {
      read();
      explain();
    };
  }, [names]);

  // Each reading as it comes; rendered once a frame however many.
  useEffect(
    () =>
      followReadings(names, (fresh) => {
        newest.current = [...fresh.reverse(), ...newest.current].slice(0, RAW_ROWS);
        setReadings(newest.current);
      }),
    [names],
  );

  // A key that not every reading has stays once it was seen.
  const seen = useRef(new Set<string>());
  for (const key of numericKeys(readings.slice(0, 20))) seen.current.add(key);
  const keyNames = [...seen.current].join('\n');
  const keys = useMemo(() => keyNames.split('\n').filter(Boolean), [keyNames]);
  const last = readings[0] ?? null;
  return (
    <>
      <div class="title">
        <h1>{deviceId}</h1>
        <span class="hint">
          of {userId}
          {last !== null && `, newest reading ${agoOf(last.time)}`}
        </span>
        <a class="back" href={linkTo()}>
          All devices
        </a>
      </div>
      {fault !== '' && <Notice kind="bad">{fault}</Notice>}
      {isUnknown && device === null && <Unknown />}
      {device !== null && (
        <div class="device">
          <DeviceCharts device={names} keys={keys} last={last} rules={explained} />
          <aside>
            <ExplainedRules user={userId} rows={explained} />
            <Panel title="Device">
              <Facts
                rows={[
                  ['First message', dateTime(device.firstSeenAt)],
                  ['Last message', device.lastSeenAt === null ? '–' : dateTime(device.lastSeenAt)],
                ]}
              />
            </Panel>
          </aside>
          <RawReadings readings={readings} />
        </div>
      )}
    </>
  );
}

/** It opens by itself once there is a message. */
function Unknown() {
  return (
    <section class="panel">
      <Empty title="No message of this device is stored">
        <p>
          It shows here with its first one. <a href={linkTo('try')}>Publish one from here</a>
        </p>
      </Empty>
    </section>
  );
}

const agoOf = (time: string) => (age(time) === 'now' ? 'just now' : `${age(time)} ago`);

function RawReadings({ readings }: { readings: readonly Reading[] }) {
  const keys = useMemo(
    () => [...new Set(readings.flatMap((reading) => [...valuesOf(reading).keys()]))].slice(0, 12),
    [readings],
  );
  return (
    <Panel title="Latest readings" class="raw">
      {readings.length === 0 ? (
        <Empty title="No reading of this device is stored" />
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: without focus no key could scroll it
        <section class="table-scroll short" aria-label="Latest readings" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col" class="num">
                  Sequence
                </th>
                {keys.map((key) => (
                  <th key={key} scope="col" class="num">
                    {key}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {readings.map((reading) => {
                const values = valuesOf(reading);
                return (
                  <tr key={`${reading.time}/${reading.sequenceId}`}>
                    <td>{dateTime(reading.time)}</td>
                    <td class="num">{reading.sequenceId}</td>
                    {keys.map((key) => (
                      <td key={key} class="num">
                        {show(values.get(key))}
                      </td>
                    ))}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </section>
      )}
    </Panel>
  );
}
