import { describe, expect, test } from 'bun:test';
import { ApiError, allPages, type Connection, inParallel } from '../../src/loadtest/api.ts';
import { settle } from '../../src/loadtest/settle.ts';

describe('allPages', () => {
  const all = Array.from({ length: 2345 }, (_, index) => index);
  const load = async (first: number, after: string | null): Promise<Connection<number>> => {
    const from = after === null ? 0 : Number(after) + 1;
    const nodes = all.slice(from, from + first);
    return {
      edges: nodes.map((node) => ({ node })),
      pageInfo: {
        hasNextPage: from + first < all.length,
        endCursor: nodes.length > 0 ? String(nodes.at(-1)) : null,
      },
    };
  };

  test('gives every node once and in order', async () => {
    for (const first of [1, 7, 1000, 2345, 5000]) expect(await allPages(first, load)).toEqual(all);
  });

  test('asks for less where a page is too much', async () => {
    const asked: number[] = [];
    const limited = (first: number, after: string | null) => {
      asked.push(first);
      if (first > 300) throw new ApiError('too much', 'TOO_EXPENSIVE');
      return load(first, after);
    };
    expect(await allPages(1000, limited)).toEqual(all);
    expect(asked.slice(0, 3)).toEqual([1000, 500, 250]);
    const refused = allPages(1000, () => Promise.reject(new ApiError('no', 'TOO_EXPENSIVE')));
    await expect(refused).rejects.toThrow('no');
  });

  test('of an owner that does not exist is empty', async () => {
    expect(await allPages(10, async () => null)).toEqual([]);
  });
});

describe('inParallel', () => {
  test('keeps the order and the limit', async () => {
    let running = 0;
    let most = 0;
    const doubled = await inParallel([5, 1, 4, 2, 3], 2, async (item) => {
      most = Math.max(most, ++running);
      await Bun.sleep(item);
      running--;
      return item * 2;
    });
    expect(doubled).toEqual([10, 2, 8, 4, 6]);
    expect(most).toBe(2);
  });

  test('begins nothing new after an error', async () => {
    const begun: number[] = [];
    const gate = Promise.withResolvers<void>();
    const failing = inParallel([1, 2, 3, 4, 5, 6], 2, async (item) => {
      begun.push(item);
      if (item === 2) throw new Error('two');
      await gate.promise;
    });
    await expect(failing).rejects.toThrow('two');
    gate.resolve();
    await Bun.sleep(0);
    expect(begun).toEqual([1, 2]);
  });
});

describe('settle', () => {
  test('ends when everything is at rest at the same time', async () => {
    let left = 2;
    const said: string[] = [];
    const waiting = await settle({
      checks: [
        { name: 'readings', pending: () => left-- },
        { name: 'nobody knows', pending: () => (left > 0 ? null : 0) },
      ],
      timeoutMs: 10_000,
      onWaiting: (text) => said.push(text),
    });
    expect(waiting).toEqual([]);
    expect(said).toEqual(['2 readings, nobody knows (no answer)', '1 readings']);
  });

  test('gives up at the deadline and says what for', async () => {
    const waiting = await settle({
      checks: [
        { name: 'alerts', pending: () => 3 },
        { name: 'readings', pending: () => Promise.reject(new Error('away')) },
      ],
      timeoutMs: 1,
      onWaiting: () => {},
    });
    expect(waiting).toEqual(['3 alerts', 'readings (no answer)']);
  });
});
