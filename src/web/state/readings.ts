import type { ApiError } from './api.ts';
import { readings as readingsDocument } from './documents.ts';
import { follow } from './live.ts';
import { readingFields } from './model.ts';
import type { Reading } from './types.ts';

/** What comes within one is rendered at once. */
const FRAME_MS = 16;

/** Calls with what came within a frame. */
export function followReadings(
  variables: { userId: string; deviceId: string },
  take: (readings: Reading[]) => void,
): () => void {
  let waiting: Reading[] = [];
  let isOver = false;
  let leave = () => {};
  const begin = () => {
    if (isOver) return;
    leave = follow<{ readings: Reading }>(readingsDocument(readingFields), variables, {
      next: ({ readings: reading }) => {
        waiting.push(reading);
        if (waiting.length > 1) return;
        setTimeout(() => {
          if (!isOver) take(waiting);
          waiting = [];
        }, FRAME_MS);
      },
      fail: (error: ApiError) => {
        if (error.code !== 'UNAUTHENTICATED') setTimeout(begin, 1_000);
      },
    });
  };
  begin();
  return () => {
    isOver = true;
    leave();
  };
}
