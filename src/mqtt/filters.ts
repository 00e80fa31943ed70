/** MQTT topic filters: `+` stands for one level, a last `#` for any number of them, also none. */

/** Whether a topic is taken in by a filter. A leading wildcard never takes in a `$` topic. */
export function filterMatches(filter: string, topic: string): boolean {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  if (topic.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false;
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === '#') return true;
    if (i >= levels.length || (wanted[i] !== '+' && wanted[i] !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

/** The text that every topic of a filter begins with; '' where it begins with a wildcard. */
export function literalPrefix(filter: string): string {
  const wildcard = filter.search(/[+#]/);
  if (wildcard === -1) return filter;
  // `a/#` takes in `a` itself too, so that the last slash isn't part of what all have in common.
  return filter.slice(0, filter[wildcard] === '#' ? Math.max(0, wildcard - 1) : wildcard);
}

export interface FilterIndex<V> {
  /** Sets the value of (filter, owner). */
  set(filter: string, owner: string, value: V): void;
  delete(filter: string, owner: string): void;
  clear(): void;
  /** Whether anything at all is in it. */
  readonly size: number;
  /** Every entry whose filter takes in the topic. */
  match(topic: string): { filter: string; owner: string; value: V }[];
}

interface Node<V> {
  children: Map<string, Node<V>>;
  entries: Map<string, V>;
}

/** Filters of many owners, matched by walking the topic's levels, however many there are. */
export function createFilterIndex<V>(): FilterIndex<V> {
  const root: Node<V> = { children: new Map(), entries: new Map() };
  let size = 0;

  function set(filter: string, owner: string, value: V): void {
    let node = root;
    for (const level of filter.split('/')) {
      let child = node.children.get(level);
      if (!child) {
        child = { children: new Map(), entries: new Map() };
        node.children.set(level, child);
      }
      node = child;
    }
    if (!node.entries.has(owner)) size++;
    node.entries.set(owner, value);
  }

  function remove(filter: string, owner: string): void {
    const levels = filter.split('/');
    const path: Node<V>[] = [root];
    for (const level of levels) {
      const child = path.at(-1)?.children.get(level);
      if (!child) return;
      path.push(child);
    }
    if (path.at(-1)?.entries.delete(owner)) size--;
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as Node<V>;
      if (node.entries.size > 0 || node.children.size > 0) return;
      path[i - 1]?.children.delete(levels[i - 1] as string);
    }
  }

  function match(topic: string): { filter: string; owner: string; value: V }[] {
    const found: { filter: string; owner: string; value: V }[] = [];
    if (size === 0) return found;
    const levels = topic.split('/');
    const take = (node: Node<V>, filter: string[]) => {
      for (const [owner, value] of node.entries) {
        found.push({ filter: filter.join('/'), owner, value });
      }
    };
    const walk = (node: Node<V>, depth: number, filter: string[]) => {
      const wild = depth > 0 || !topic.startsWith('$');
      const rest = wild ? node.children.get('#') : undefined;
      if (rest) take(rest, [...filter, '#']);
      if (depth === levels.length) {
        take(node, filter);
        return;
      }
      const level = levels[depth] as string;
      const any = wild ? node.children.get('+') : undefined;
      if (any) walk(any, depth + 1, [...filter, '+']);
      const exact = node.children.get(level);
      if (exact) walk(exact, depth + 1, [...filter, level]);
    };
    walk(root, 0, []);
    return found;
  }

  return {
    set,
    delete: remove,
    clear() {
      root.children.clear();
      size = 0;
    },
    match,
    get size() {
      return size;
    },
  };
}
