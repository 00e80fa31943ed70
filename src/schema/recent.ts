/** A map that forgets: what was set is there for `ms / 2` to `ms`, and then no more. */
export interface Recent<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): void;
  delete(key: K): void;
  clear(): void;
}

export function createRecent<K, V>(ms: number): Recent<K, V> {
  let fresh = new Map<K, V>();
  let old = new Map<K, V>();
  let turnedAtMs = Number.NEGATIVE_INFINITY;

  function turn(): void {
    const age = performance.now() - turnedAtMs;
    if (age < ms / 2) return;
    old = age < ms ? fresh : new Map();
    fresh = new Map();
    turnedAtMs = performance.now();
  }

  return {
    get(key) {
      turn();
      return fresh.get(key) ?? old.get(key);
    },
    set(key, value) {
      turn();
      fresh.set(key, value);
    },
    delete(key) {
      fresh.delete(key);
      old.delete(key);
    },
    clear() {
      fresh.clear();
      old.clear();
    },
  };
}
