import { useEffect, useMemo, useState } from 'preact/hooks';
import { Command, Empty, LOADTEST, SeverityBadge } from '../components/bits.tsx';
import { Sparkline } from '../components/sparkline.tsx';
import { sortRows, type TableColumn, VirtualTable } from '../components/virtual-table.tsx';
import { counts, worstByDevice } from '../state/alerts.ts';
import { devices, isCut, isLoaded, keyOf, visible, watchDevices } from '../state/devices.ts';
import { age, number, show } from '../state/format.ts';
import { deadLetters, history, ingest, watermarkAge } from '../state/ingest.ts';
import { declaredKeys, valuesOf } from '../state/model.ts';
import { linkTo } from '../state/router.ts';
import { caller, userId } from '../state/session.ts';
import type { DeviceRow, Severity } from '../state/types.ts';

export function Overview() {
  return (
    <>
      <h1 class="hidden">Overview</h1>
      <div class="tiles">
        <FiringTile />
        {caller.value?.isOperator && <IngestTiles />}
      </div>
      <Devices />
    </>
  );
}

const SEVERITIES: readonly Severity[] = ['CRITICAL', 'WARNING', 'INFO'];

function FiringTile() {
  const firing = Object.values(counts.value).reduce((sum, count) => sum + count, 0);
  return (
    <a class="tile firing" href={linkTo('alerts')}>
      <span class="tile-name">Firing alerts</span>
      <strong>{number(firing)}</strong>
      <span class="tile-more">
        {firing === 0 && 'none'}
        {SEVERITIES.filter((severity) => counts.value[severity]).map((severity) => (
          <span key={severity} class="severity-count">
            <SeverityBadge severity={severity} /> {number(counts.value[severity])}
          </span>
        ))}
      </span>
    </a>
  );
}

function IngestTiles() {
  const status = ingest.value;
  const points = history.value;
  const dead = deadLetters.value.reduce((sum, { count }) => sum + count, 0);
  const waiting = status?.partitions.find(({ problem }) => problem !== null)?.problem;
  const oldest = status === null ? null : watermarkAge(status);
  return (
    <>
      <Tile name="Ingest rate" value={number(rounded(status?.rate))} unit="records/s">
        <Sparkline values={points.map(({ rate }) => rate)} />
      </Tile>
      <Tile name="Lag" value={number(status?.lag)} unit="records" problem={waiting}>
        <Sparkline values={points.map(({ lag }) => lag)} />
      </Tile>
      <Tile name="Watermark age" value={oldest === null ? '–' : oldest.toFixed(1)} unit="s">
        <Sparkline values={points.map(({ age }) => age)} />
      </Tile>
      <a class="tile" href={linkTo('dead-letters')}>
        <span class="tile-name">Dead letters</span>
        <strong>{number(dead)}</strong>
        <span class="tile-more">{deadLetters.value[0]?.reason ?? 'none'}</span>
      </a>
    </>
  );
}

/** To whole ones from ten on: the rest is noise. */
const rounded = (rate: number | null | undefined) =>
  rate == null ? null : rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate);

function Tile(props: {
  name: string;
  value: string;
  unit: string;
  problem?: string | null;
  children: preact.ComponentChildren;
}) {
  return (
    <div class="tile">
      <span class="tile-name">{props.name}</span>
      <span>
        <strong>{props.value}</strong> <span class="unit">{props.unit}</span>
      </span>
      {props.problem ? <span class="fault">{props.problem}</span> : props.children}
    </div>
  );
}

function columnsFor(isAll: boolean): TableColumn<DeviceRow>[] {
  return [
    {
      id: 'device',
      title: 'Device',
      sort: (row) => row.deviceId,
      cell: (row) => (
        <>
          <a href={linkTo('devices', row.userId, row.deviceId)}>{row.deviceId}</a>
          {isAll && <span class="hint narrow-only"> {row.userId}</span>}
        </>
      ),
    },
    ...(isAll ? [{ id: 'user', title: 'User', sort: userOf, cell: userOf, isMinor: true }] : []),
    ...declaredKeys.map((name, at) => ({
      id: name,
      width: 'medium' as const,
      isMinor: at > 0,
      title: name.replaceAll(/[_.]/g, ' '),
      isNumeric: true,
      sort: (row: DeviceRow) => sortable(shownAt(row, name)),
      cell: (row: DeviceRow) => show(shownAt(row, name)),
    })),
    { id: 'other', title: 'Other values', isMinor: true, cell: otherValues },
    {
      id: 'age',
      width: 'short',
      title: 'Last seen',
      isNumeric: true,
      sort: (row) => row.lastSeenAt,
      cell: (row) => <span title={row.lastSeenAt ?? ''}>{age(row.lastSeenAt)}</span>,
    },
    {
      id: 'alerts',
      title: 'Alerts',
      width: 'medium',
      isMinor: true,
      isNumeric: true,
      cell: (row) => <Firing row={row} />,
    },
  ];
}

const shownAt = (row: DeviceRow, key: string) => valuesOf(row.latest).get(key);
const userOf = (row: DeviceRow) => row.userId;

function sortable(value: unknown): string | number | null {
  if (value === null || value === undefined) return null;
  return typeof value === 'number' ? value : String(value);
}

function otherValues({ latest }: DeviceRow): string {
  const others = [...valuesOf(latest)].filter(([key]) => !declaredKeys.includes(key)).slice(0, 3);
  return others.map(([key, value]) => `${key} ${show(value)}`).join(', ');
}

function Firing({ row }: { row: DeviceRow }) {
  const worst = worstByDevice.value.get(keyOf(row));
  return worst === undefined ? <>–</> : <SeverityBadge severity={worst} />;
}

function Devices() {
  const [search, setSearch] = useState('');
  const [sorting, setSorting] = useState({ id: 'device', isDescending: false });
  useEffect(() => watchDevices(), []);
  const isAll = userId.value === null;
  const columns = useMemo(() => columnsFor(isAll), [isAll]);
  const all = devices.value;
  const rows = useMemo(() => {
    const wanted = search.trim().toLowerCase();
    const found =
      wanted === '' ? all : all.filter((row) => keyOf(row).toLowerCase().includes(wanted));
    return sortRows(found, columns, sorting);
  }, [all, search, sorting, columns]);
  return (
    <section class="panel grow">
      <header class="panel-head">
        <h2>Devices</h2>
        <span class="hint" role="status">
          {isLoaded.value ? `${number(rows.length)}${isCut.value ? ' and more' : ''}` : 'Loading…'}
        </span>
        <input
          type="search"
          placeholder="Search by name"
          aria-label="Search devices"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
      </header>
      <VirtualTable
        label="Devices"
        columns={columns}
        rows={rows}
        keyOf={keyOf}
        sorting={sorting}
        onSort={setSorting}
        onVisible={(shown) => {
          visible.value = shown;
        }}
        empty={isLoaded.value && <NoDevices isSearch={search !== ''} />}
      />
    </section>
  );
}

function NoDevices({ isSearch }: { isSearch: boolean }) {
  if (isSearch) return <Empty title="No device has this in its name" />;
  return (
    <Empty title="No device has sent anything yet">
      <p>
        One command sends readings of ninety devices for half a minute, and fires alerts. Run it in
        the folder of Pulsegraph:
      </p>
      <Command text={LOADTEST} />
      <p>
        Or <a href={linkTo('try')}>publish one reading from here</a>.
      </p>
    </Empty>
  );
}
