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

/**
 * A loader of lists for each set of arguments: the same field of many parents is one statement. Its
 * rows go to the parents whose key they have, in the order in which they come.
 *
 * @param load gives the rows of all the keys together
 */
export function requestListLoader<K, V extends K, A>(
  load: (keys: readonly K[], args: A, context: Context) => Promise<V[]>,
  keyOf: (key: K) => string,
): (context: Context, args: A) => DataLoader<K, V[], string> {
  const definition = {};
  return (context, args) => {
    type Loader = DataLoader<K, V[], string>;
    const loaders = (context.loaders.get(definition) ?? new Map()) as Map<string, Loader>;
    context.loaders.set(definition, loaders);
    const name = JSON.stringify(args);
    const existing = loaders.get(name);
    if (existing !== undefined) return existing;
    const loadLists = async (keys: readonly K[]) => {
      const rows = Map.groupBy(await load(keys, args, context), keyOf);
      return keys.map((key) => rows.get(keyOf(key)) ?? []);
    };
    const loader: Loader = new DataLoader(loadLists, { cacheKeyFn: keyOf, maxBatchSize: 1_000 });
    loaders.set(name, loader);
    return loader;
  };
}

/** What a request reads behind a change of its own, it reads anew. */
export function forgetLoaded(context: Context): void {
  context.loaders.clear();
}
