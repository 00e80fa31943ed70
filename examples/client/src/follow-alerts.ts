import { setTimeout as sleep } from 'node:timers/promises';
import { type Api, ApiError, ConnectionLost } from './api.ts';
import { graphql, type ResultOf } from './graphql.ts';

const AlertEvents = graphql(`
  subscription AlertEvents($after: SafeInt) {
    alertEvents(after: $after) {
      seq
      type
      time
      message
      value
      alert {
        id
        severity
        device {
          deviceId
        }
      }
    }
  }
`);

export type AlertEvent = ResultOf<typeof AlertEvents>['alertEvents'];

/** What a connection is closed with where another attempt would end in the same way. */
const FINAL_CLOSES = [4400, 4401, 4406, 4409, 4429, 4500];
const MAX_WAIT_MS = 10_000;

/**
 * The transitions of alerts, each once and in order, over as many connections as it takes: a new one
 * goes on behind the `seq` that was handed out last.
 *
 * @param after the last seq that was dealt with; without it only what comes from now on
 * @throws ApiError OUT_OF_RANGE where events after it are no longer stored: read the alerts anew
 */
export async function* followAlerts(api: Api, after?: number): AsyncGenerator<AlertEvent> {
  let seq = after;
  let waitMs = 100;
  while (true) {
    try {
      for await (const { alertEvents: event } of api.subscribe(AlertEvents, { after: seq })) {
        seq = event.seq;
        waitMs = 100;
        yield event;
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
    }
    await sleep(waitMs * (0.5 + Math.random() / 2));
    waitMs = Math.min(waitMs * 2, MAX_WAIT_MS);
  }
}

function isPassing(error: unknown): boolean {
  if (error instanceof ConnectionLost) return !FINAL_CLOSES.includes(error.code);
  return error instanceof ApiError && error.code === 'UNAVAILABLE';
}
