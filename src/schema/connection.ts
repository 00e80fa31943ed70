import type { Builder, SchemaTypes } from './builder.ts';
import { badArgument } from './errors.ts';

/** Lists that are paged by the key of their last row: stable while rows are added. */

export interface PageInfo {
  hasNextPage: boolean;
  hasPreviousPage: boolean;
  startCursor: string | null;
  endCursor: string | null;
}

export interface Connection<T> {
  pageInfo: PageInfo;
  edges: { cursor: string; node: T }[];
}

const MAX_PAGE = 1_000;

/** What the arguments of each list mean. */
export const FIRST = 'Entries of the page: 1 to 1,000.';
export const AFTER = '`endCursor` of the page before; left out: the first page.';

/** Opaque to the caller: the fields of the last row that the order goes by. */
export type CursorKey = readonly (string | number)[];

/** Fetches one row more than asked for, which tells whether there is a next page. */
export async function page<T, K extends CursorKey>(
  args: { first?: number | null; after?: string | null },
  {
    key,
    shape,
    fetch,
  }: {
    key: (row: T) => K;
    /** The type of each field of the key, to tell a foreign cursor. */
    shape: readonly ('string' | 'number')[];
    fetch: (after: K | null, limit: number) => Promise<T[]>;
  },
): Promise<Connection<T>> {
  const first = args.first ?? 50;
  if (first < 1 || first > MAX_PAGE) {
    throw badArgument('first', `a page has 1 to ${MAX_PAGE} entries, not ${first}`);
  }
  const after = args.after == null ? null : (decodeCursor(args.after, shape) as unknown as K);
  const rows = await fetch(after, first + 1);
  const edges = rows.slice(0, first).map((node) => ({ cursor: encodeCursor(key(node)), node }));
  return {
    edges,
    pageInfo: {
      hasNextPage: rows.length > first,
      hasPreviousPage: after !== null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

function encodeCursor(key: CursorKey): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url');
}

function decodeCursor(cursor: string, shape: readonly ('string' | 'number')[]): CursorKey {
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    const fits =
      Array.isArray(key) &&
      key.length === shape.length &&
      key.every((field, i) => typeof field === shape[i] && field === field.valueOf());
    if (fits) return key as CursorKey;
  } catch {
    // Not even JSON: refused below.
  }
  throw badArgument('after', 'not a cursor of this list; use endCursor of the page before');
}

export function definePageInfo(builder: Builder): void {
  builder.objectType('PageInfo', {
    description: 'Where a page of a list stands in it.',
    fields: (t) => ({
      hasNextPage: t.exposeBoolean('hasNextPage', { description: 'Whether more come behind it.' }),
      hasPreviousPage: t.exposeBoolean('hasPreviousPage', {
        description: 'Whether this page was asked for with `after`.',
      }),
      startCursor: t.exposeString('startCursor', {
        nullable: true,
        description: 'Of its first entry; null where it has none.',
      }),
      endCursor: t.exposeString('endCursor', {
        nullable: true,
        description: 'Of its last entry: the `after` of the next page; null where it has none.',
      }),
    }),
  });
}

type NodeName = keyof SchemaTypes['Objects'] & string;

/** The types `<Node>Connection` and `<Node>Edge`. A page's cost is counted at the field. */
export function connectionType<N extends NodeName>(builder: Builder, node: N) {
  type Node = SchemaTypes['Objects'][N];
  const type: string = node;
  const edge = builder.objectRef<{ cursor: string; node: Node }>(`${node}Edge`).implement({
    description: 'An entry of a page.',
    fields: (t) => ({
      cursor: t.exposeString('cursor', {
        description: 'Its place in the list: an `after`. It stays right while entries are added.',
      }),
      node: t.field({
        type: type as never,
        description: 'The entry itself.',
        resolve: (parent) => parent.node as never,
      }),
    }),
  });
  return builder.objectRef<Connection<Node>>(`${node}Connection`).implement({
    description: 'A page of a list, by the key of its entries.',
    fields: (t) => ({
      pageInfo: t.field({
        type: 'PageInfo',
        description: 'Where the page stands.',
        resolve: (parent) => parent.pageInfo,
      }),
      edges: t.field({
        type: [edge],
        description: 'The entries with their cursors.',
        complexity: { field: 0, multiplier: 1 },
        resolve: (parent) => parent.edges,
      }),
      nodes: t.field({
        type: [type] as never,
        description: 'The entries alone.',
        complexity: { field: 0, multiplier: 1 },
        resolve: (parent) => parent.edges.map((each) => each.node) as never,
      }),
    }),
  });
}

/** The cost of a page: its field, and its rows times what is asked of each. */
export function pageComplexity(args: { first?: number | null }): {
  field: number;
  multiplier: number;
} {
  return { field: 1, multiplier: Math.max(1, Math.min(args.first ?? 50, MAX_PAGE)) };
}
