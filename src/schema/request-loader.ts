import DataLoader from 'dataloader';
import type { Context } from './context.ts';

/**
 * A loader that each request makes once, when it first needs it: it batches what the resolvers of
 * one level ask for into one statement and never serves one request what another has read.
 *
 * @param load gives a value for each key, in the order of the keys
 * @param keyOf what makes two keys the same
 */
export function requestLoader<K, V>(
  load: (keys: readonly K[], context: Context) => Promise<V[]>,
  keyOf: (key: K) => string,
): (context: Context) => DataLoader<K, V, string> {
  const definition = {};
  return (context) => {
    const existing = context.loaders.get(definition) as DataLoader<K, V, string> | undefined;
    if (existing !== undefined) return existing;
    const loader = new DataLoader<K, V, string>((keys) => load(keys, context), {
      cacheKeyFn: keyOf,
      maxBatchSize: 1_000,
    });
    context.loaders.set(definition, loader);
    return loader;
  };
}

/** A subscription's context lives on: each of its events must read the present, and keep nothing. */
export function forgetLoaded(context: Context): void {
  context.loaders.clear();
}
