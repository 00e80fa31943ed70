import type { StreamSlots } from './context.ts';
import { apiError } from './errors.ts';

/** Counts event streams over HTTP: each holds a connection and a place in the feeds. */
export function createStreamSlots(max: number): StreamSlots {
  let open = 0;
  return {
    take() {
      if (open >= max) {
        throw apiError(
          'UNAVAILABLE',
          `${max} event streams are open here, which is the most: try again later, or use a ` +
            'WebSocket, which carries many subscriptions',
          { http: { status: 503 } },
        );
      }
      open++;
    },
    giveBack() {
      open--;
    },
  };
}
