import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

export interface TableColumn<T> {
  id: string;
  title: string;
  /** Figures stand to the right. */
  isNumeric?: boolean;
  /** Of the column; without, it shares what is left. Fixed, so that scrolling moves no column. */
  width?: 'short' | 'medium' | 'long';
  /** Left out on narrow screens. */
  isMinor?: boolean;
  cell: (row: T) => ComponentChildren;
  /** What the column is sorted by; a column without is not. */
  sort?: (row: T) => string | number | null;
}

export interface Sorting {
  id: string;
  isDescending: boolean;
}

interface TableProps<T> {
  label: string;
  columns: readonly TableColumn<T>[];
  /** In the order that they are shown in. */
  rows: readonly T[];
  keyOf: (row: T) => string;
  rowClass?: (row: T) => string;
  sorting?: Sorting;
  onSort?: (sorting: Sorting) => void;
  onVisible?: (rows: readonly T[]) => void;
  empty: ComponentChildren;
}

/** As --row-height in styles.css. */
const ROW_HEIGHT = 40;
const OVERSCAN = 6;

/** A table of any length: only the rows on the screen are in the page. */
export function VirtualTable<T>(props: TableProps<T>) {
  const { label, columns, rows, keyOf, rowClass, onVisible, empty } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useLayoutEffect(() => {
    const element = scroller.current as HTMLDivElement;
    const sized = new ResizeObserver(() => setHeight(element.clientHeight));
    sized.observe(element);
    return () => sized.disconnect();
  }, []);

  const first = Math.max(0, Math.min(Math.floor(top / ROW_HEIGHT), rows.length) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((top + height) / ROW_HEIGHT) + OVERSCAN);
  const shown = rows.slice(first, last);
  useEffect(() => onVisible?.(shown), [rows, first, last]);

  return (
    <section
      class="table-scroll"
      ref={scroller}
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: without focus no key could scroll it
      tabIndex={0}
      onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}
    >
      <table class="virtual" aria-rowcount={rows.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <HeadCell key={column.id} column={column} {...props} />
            ))}
          </tr>
        </thead>
        <tbody>
          <Spacer rows={first} />
          {shown.map((row, at) => (
            <tr key={keyOf(row)} class={rowClass?.(row)} aria-rowindex={first + at + 2}>
              {columns.map((column) => (
                <td key={column.id} class={cellClass(column)}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          <Spacer rows={rows.length - last} />
        </tbody>
      </table>
      {rows.length === 0 && empty}
    </section>
  );
}

/** One cell: more than the narrow screen shows would be columns of their own. */
function Spacer({ rows }: { rows: number }): JSX.Element | null {
  if (rows <= 0) return null;
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a row takes no focus
    <tr aria-hidden="true" class="spacer">
      <td style={{ height: `${rows * ROW_HEIGHT}px` }} />
    </tr>
  );
}

function HeadCell<T>({ column, sorting, onSort }: TableProps<T> & { column: TableColumn<T> }) {
  const { id, title, sort } = column;
  const isSorted = sorting?.id === id;
  if (sort === undefined || onSort === undefined) {
    return (
      <th scope="col" class={cellClass(column)}>
        {title}
      </th>
    );
  }
  const order = sorting?.isDescending ? 'descending' : 'ascending';
  const next = { id, isDescending: isSorted ? !sorting?.isDescending : false };
  return (
    <th scope="col" class={cellClass(column)} aria-sort={isSorted ? order : undefined}>
      <button type="button" class="sort" onClick={() => onSort(next)}>
        {title}
        <span aria-hidden="true">{isSorted ? (sorting?.isDescending ? ' ↓' : ' ↑') : ''}</span>
      </button>
    </th>
  );
}

function cellClass<T>({ isNumeric, isMinor, width }: TableColumn<T>): string {
  return `${isNumeric ? 'num' : ''} ${isMinor ? 'minor' : ''} ${width ?? ''}`.trim();
}

/** By the sorted column; rows without a value are last, whichever way. */
export function sortRows<T>(
  rows: readonly T[],
  columns: readonly TableColumn<T>[],
  { id, isDescending }: Sorting,
): T[] {
  const sort = columns.find((column) => column.id === id)?.sort;
  if (sort === undefined) return [...rows];
  const sign = isDescending ? -1 : 1;
  return rows
    .map((row) => ({ row, value: sort(row) }))
    .sort((a, b) => {
      if (a.value === null || b.value === null)
        return Number(a.value === null) - Number(b.value === null);
      return a.value < b.value ? -sign : a.value > b.value ? sign : 0;
    })
    .map(({ row }) => row);
}
