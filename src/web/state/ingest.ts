import { effect, signal } from '@preact/signals';
import { request } from './api.ts';
import { DEAD_LETTER_COUNTS, INGEST_STATUS } from './documents.ts';
import { follow, poll } from './live.ts';
import { caller } from './session.ts';
import type { IngestStatus } from './types.ts';

export interface ReasonCount {
  reason: string;
  count: number;
  replayed: number;
}

export const ingest = signal<IngestStatus | null>(null);
/** One value a second, the newest last. */
export const history = signal<{ rate: number; lag: number; age: number }[]>([]);
export const deadLetters = signal<ReasonCount[]>([]);

const HISTORY = 90;
const DEAD_LETTER_MS = 3_000;
const AGAIN_MS = 2_000;

/** The oldest watermark of all partitions, seconds; null where none is known. */
export function watermarkAge({ partitions }: IngestStatus): number | null {
  const ages = partitions.flatMap(({ watermarkAge }) => watermarkAge ?? []);
  return ages.length === 0 ? null : Math.max(...ages);
}

export async function loadDeadLetterCounts(): Promise<void> {
  const answer = await request<{ deadLetterCounts: ReasonCount[] | null }>(DEAD_LETTER_COUNTS);
  deadLetters.value = answer.deadLetterCounts ?? [];
}

/** For operators, for as long as the page lives. */
export function startIngest(): void {
  effect(() => {
    if (!caller.value?.isOperator) return;
    const leaves = [poll(loadDeadLetterCounts, DEAD_LETTER_MS), followIngest()];
    return () => {
      for (const leave of leaves) leave();
    };
  });
}

function followIngest(): () => void {
  let isOver = false;
  let leave = () => {};
  const begin = () => {
    if (isOver) return;
    leave = follow<{ ingestStatus: IngestStatus }>(
      INGEST_STATUS,
      {},
      {
        next: ({ ingestStatus }) => {
          ingest.value = ingestStatus;
          const { rate, lag } = ingestStatus;
          const point = { rate: rate ?? 0, lag, age: watermarkAge(ingestStatus) ?? 0 };
          history.value = [...history.peek(), point].slice(-HISTORY);
        },
        fail: () => setTimeout(begin, AGAIN_MS),
      },
    );
  };
  begin();
  return () => {
    isOver = true;
    leave();
  };
}
