import type { Logger } from 'pino';
import type { AlertEvent } from '../domain/alert.ts';
import { isTopicName } from '../domain/topic.ts';
import { alertMessage } from '../mqtt/alert-message.ts';
import { alertsTopic } from '../mqtt/topics.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Sql } from '../store/connection.ts';
import { markAlertsPublished, publisherPosition } from '../store/publisher-position.ts';
import { createAlertFlight } from './alert-flight.ts';
import { keepTrying, type PublishPort, whenBack } from './publish-port.ts';
import { sleep } from './retry.ts';
import type { Tracer } from './tracer.ts';

export interface AlertPublishing {
  sql: Sql;
  mqtt: PublishPort;
  tail: Pick<AlertEventTail, 'newest' | 'read' | 'wait'>;
  logger: Pick<Logger, 'warn' | 'error'>;
  signal: AbortSignal;
  tracer?: Pick<Tracer, 'sending'> | undefined;
}

/** Messages on their way at a time. */
const WINDOW = 256;
/** How long positions are collected before they are stored: one transaction for many alerts. */
const MARK_EVERY_MS = 50;

/**
 * Sends every event that is not muted to its user, in order of seq, from where the last publisher stopped. At
 * least once: what was not acknowledged, and what was behind it on its way, is sent again with the
 * same event_id. An alert's next transition goes out once the one before is acknowledged, so that
 * nobody sees it resolved, firing and resolved again; only after a crash, whose last 50 ms or so
 * are sent again, does a client need event_id or seq to tell. Ends on abort.
 */
export async function publishAlerts(work: AlertPublishing): Promise<void> {
  const { mqtt, tail, logger, signal } = work;
  const start = await keepTrying(() => publisherPosition(work.sql, 'alerts'), work);
  if (start === null) return;
  const marks = createMarks(work, start);
  const flight = createAlertFlight((event) => send(work, event), {
    start,
    window: WINDOW,
    onReached: marks.reach,
    signal,
  });
  let position = start;
  while (!signal.aborted) {
    try {
      const newest = tail.newest();
      const events = await tail.read(position, WINDOW);
      for (const event of events) {
        // Another may be the publisher by now.
        if (signal.aborted) break;
        await flight.send(event);
      }
      position = events.at(-1)?.seq ?? position;
      if (flight.failure !== null) {
        const { error: err, seq } = flight.failure;
        position = await flight.land();
        logger.warn({ err, seq }, 'alerts wait for the MQTT broker');
        await whenBack(mqtt, signal);
      } else if (events.length === 0) {
        // All up to the newest known are gone: they were deleted.
        position = Math.max(position, newest);
        await tail.wait(position, flight.interrupted);
      }
    } catch (error) {
      if (signal.aborted) break;
      logger.warn({ err: error }, 'alerts wait for the database');
      await sleep(1_000, signal);
    }
  }
  await flight.land();
  await marks.close();
}

async function send({ mqtt, logger, tracer }: AlertPublishing, event: AlertEvent): Promise<void> {
  if (event.muted) return;
  if (!isTopicName(event.userId)) {
    logger.warn({ seq: event.seq }, 'an alert of a user whose name no topic can hold is not sent');
    return;
  }
  const topic = alertsTopic.format(event.userId);
  const publish = () => mqtt.publish(topic, alertMessage(event), { qos: 1 });
  const isFollowed = tracer !== undefined && event.traceparent !== null;
  await (isFollowed ? tracer.sending(event, topic, publish) : publish());
}

/** Stores how far the publisher has come, behind it and never in its way. */
function createMarks({ sql, logger, signal }: AlertPublishing, start: number) {
  let reached = start;
  let stored = start;
  let storing: Promise<void> | null = null;

  async function store(): Promise<void> {
    for (let failures = 0; stored < reached; ) {
      if (failures === 0) await sleep(MARK_EVERY_MS, signal);
      const to = reached;
      try {
        await markAlertsPublished(sql, { from: stored, to });
        stored = to;
        failures = 0;
      } catch (error) {
        if (failures++ === 0) logger.warn({ err: error }, 'the position of alerts is not stored');
        // On the way out once is enough: what is not marked is sent again.
        if (signal.aborted) return;
        await sleep(1_000, signal);
      }
    }
  }

  return {
    reach(seq: number): void {
      reached = seq;
      if (reached > stored) storing ??= store().finally(() => (storing = null));
    },
    async close(): Promise<void> {
      await storing;
      if (stored < reached) await store();
    },
  };
}
