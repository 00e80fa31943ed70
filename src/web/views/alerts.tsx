import { useMemo, useState } from 'preact/hooks';
import { Command, Empty, LOADTEST, SeverityBadge } from '../components/bits.tsx';
import { sortRows, type TableColumn, VirtualTable } from '../components/virtual-table.tsx';
import { alerts, isLoaded } from '../state/alerts.ts';
import { age, dateTime, number, shortTime, show } from '../state/format.ts';
import { linkTo } from '../state/router.ts';
import { userId } from '../state/session.ts';
import type { Alert, Severity } from '../state/types.ts';
import { AlertDetailView } from './alert-detail.tsx';

type StatusFilter = 'firing' | 'open' | 'resolved' | 'all';

interface Filters {
  status: StatusFilter;
  lowest: Severity;
  search: string;
}

const RANK: Record<Severity, number> = { INFO: 0, WARNING: 1, CRITICAL: 2 };
const PASSES: Record<StatusFilter, (alert: Alert) => boolean> = {
  firing: ({ status }) => status === 'FIRING',
  open: ({ status, acknowledgedAt }) => status === 'FIRING' && acknowledgedAt === null,
  resolved: ({ status }) => status === 'RESOLVED',
  all: () => true,
};

function columnsFor(isAll: boolean): TableColumn<Alert>[] {
  return [
    {
      id: 'severity',
      width: 'medium',
      title: 'Severity',
      sort: ({ severity }) => RANK[severity],
      cell: ({ severity }) => <SeverityBadge severity={severity} />,
    },
    {
      id: 'message',
      title: 'Alert',
      cell: (alert) => <a href={linkTo('alerts', alert.id)}>{alert.message}</a>,
    },
    { id: 'device', title: 'Device', sort: deviceOf, cell: deviceOf, isMinor: true },
    ...(isAll ? [{ id: 'user', title: 'User', sort: userOf, cell: userOf, isMinor: true }] : []),
    {
      id: 'value',
      width: 'short',
      title: 'Value',
      isNumeric: true,
      isMinor: true,
      cell: ({ value }) => show(value),
    },
    {
      id: 'started',
      width: 'long',
      title: 'Since',
      isNumeric: true,
      sort: ({ startedAt }) => startedAt,
      cell: ({ startedAt }) => <span title={dateTime(startedAt)}>{shortTime(startedAt)}</span>,
    },
    {
      id: 'state',
      title: 'State',
      width: 'medium',
      isMinor: true,
      cell: (alert) => <span class="badge">{stateOf(alert)}</span>,
    },
  ];
}

const deviceOf = ({ device }: Alert) => device.deviceId;
const userOf = ({ user }: Alert) => user.id;

/** In a word or two, with who sees to it. */
export function stateOf(alert: Alert): string {
  if (alert.status === 'RESOLVED') return 'resolved';
  const until = alert.snoozedUntil;
  if (until !== null && Date.parse(until) > Date.now()) return 'snoozed';
  return alert.acknowledgedAt === null ? 'firing' : 'acknowledged';
}

export function AlertsView({ selected }: { selected: string | null }) {
  const [filters, setFilters] = useState<Filters>({ status: 'firing', lowest: 'INFO', search: '' });
  const [sorting, setSorting] = useState({ id: 'started', isDescending: true });
  const isAll = userId.value === null;
  const columns = useMemo(() => columnsFor(isAll), [isAll]);
  const all = alerts.value;
  const rows = useMemo(() => {
    const found = all.filter((alert) => passes(alert, filters));
    // They come in the order of the start, the newest first.
    const isSorted = sorting.id === 'started' && sorting.isDescending;
    return isSorted ? found : sortRows(found, columns, sorting);
  }, [all, filters, sorting, columns]);
  return (
    <>
      <h1 class="hidden">Alerts</h1>
      <div class={`split ${selected === null ? '' : 'has-detail'}`}>
        <section class="panel list">
          <header class="panel-head">
            <h2>Alerts</h2>
            <span class="hint" role="status">
              {isLoaded.value ? number(rows.length) : 'Loading…'}
            </span>
            <FilterBar filters={filters} onFilters={setFilters} />
          </header>
          <VirtualTable
            label="Alerts"
            columns={columns}
            rows={rows}
            keyOf={({ id }) => id}
            rowClass={({ id, status }) =>
              `${id === selected ? 'selected' : ''} ${status === 'RESOLVED' ? 'dim' : ''}`
            }
            sorting={sorting}
            onSort={setSorting}
            empty={isLoaded.value && <NoAlerts hasOthers={all.length > 0} />}
          />
        </section>
        {selected !== null && <AlertDetailView key={selected} id={selected} />}
      </div>
    </>
  );
}

function passes(alert: Alert, { status, lowest, search }: Filters): boolean {
  if (!PASSES[status](alert) || RANK[alert.severity] < RANK[lowest]) return false;
  const wanted = search.trim().toLowerCase();
  if (wanted === '') return true;
  const { message, ruleId, device, user } = alert;
  return [message, ruleId, device.deviceId, user.id].some((text) =>
    text.toLowerCase().includes(wanted),
  );
}

function FilterBar(props: { filters: Filters; onFilters: (filters: Filters) => void }) {
  const { filters, onFilters } = props;
  return (
    <div class="filters">
      <select
        aria-label="State"
        value={filters.status}
        onChange={({ currentTarget }) =>
          onFilters({ ...filters, status: currentTarget.value as StatusFilter })
        }
      >
        <option value="firing">Firing</option>
        <option value="open">Firing, nobody sees to it</option>
        <option value="resolved">Resolved</option>
        <option value="all">All</option>
      </select>
      <select
        aria-label="Lowest severity"
        value={filters.lowest}
        onChange={({ currentTarget }) =>
          onFilters({ ...filters, lowest: currentTarget.value as Severity })
        }
      >
        <option value="INFO">Any severity</option>
        <option value="WARNING">Warning and critical</option>
        <option value="CRITICAL">Critical</option>
      </select>
      <input
        type="search"
        placeholder="Device, rule or text"
        aria-label="Search alerts"
        value={filters.search}
        onInput={({ currentTarget }) => onFilters({ ...filters, search: currentTarget.value })}
      />
    </div>
  );
}

function NoAlerts({ hasOthers }: { hasOthers: boolean }) {
  if (hasOthers) return <Empty title="No alert like this" />;
  return (
    <Empty title="No alert has fired yet">
      <p>
        Alerts come from <a href={linkTo('rules')}>rules</a>. One command makes users with rules,
        and readings that cross them:
      </p>
      <Command text={LOADTEST} />
    </Empty>
  );
}

export const sinceText = (alert: Alert) =>
  alert.resolvedAt === null ? `for ${age(alert.startedAt)}` : `until ${dateTime(alert.resolvedAt)}`;
