import { afterEach, describe, test } from 'bun:test';
import type { HaltPoint } from '../support/tcp-proxy.ts';
import { type CrashStage, crashStage } from './crash-stage.ts';

const TIMEOUT_MS = 90_000;
/** The statement of a batch with a transition that comes behind all its others. */
const LAST_STATEMENT = 'pulsegraph_append_events';
/** A small batch is one message, and so one transaction. */
const MESSAGE = { needle: LAST_STATEMENT, from: 'client' } as const;
const COPY = 'COPY raw_telemetry';
const COMMIT = { needle: 'commit', from: 'client', after: LAST_STATEMENT } as const;
/** Of a message of QoS 1, but for the id behind it. */
const PUBACK = new Uint8Array([0x40, 0x02]);
const ALERT = { needle: 'users/ann/alerts', from: 'client' } as const;

let stage: CrashStage | undefined;
afterEach(async () => {
  await stage?.close();
  stage = undefined;
}, TIMEOUT_MS);

/** Ten readings are stored, the next ones lead to the point, and more come when it is back. */
async function survives(
  broker: 'embedded' | 'outside',
  on: 'database' | 'mqtt',
  point: HaltPoint,
  { least, smallBatches = true }: { least?: number; smallBatches?: boolean } = {},
): Promise<void> {
  stage = await crashStage({ broker });
  if (!smallBatches) await stage.refuseSmallBatches();
  const { send, crashAt } = stage;
  await send(10);
  await stage.stored();
  let acknowledged: Promise<void> | undefined;
  const work = () => {
    acknowledged = send(15);
  };
  await crashAt(stage[on], point, { work, stored: least });
  await acknowledged;
  await stage.stored();
  await send(15);
  await stage.expectAllOnce();
}

/** With the one way of the crash in each name. */
function points(of: Record<string, HaltPoint>, run: (point: HaltPoint) => Promise<void>): void {
  test.each(Object.keys(of))('%s', (name) => run(of[name] as HaltPoint), TIMEOUT_MS);
}

/** A reading that comes again because of its PUBACK is stored by then. */
const leastAt = ({ when }: HaltPoint) => (when === 'before' ? 11 : 0);

describe('kill -9 in the transaction of a batch', () => {
  points(
    {
      'before its message': { ...MESSAGE, when: 'before' },
      'behind its message': { ...MESSAGE, when: 'behind' },
      'with its answer on the way, so before the offset commit': {
        ...MESSAGE,
        when: 'answered',
      },
    },
    (point) => survives('embedded', 'database', point),
  );
});

describe('kill -9 in the transaction of a batch that goes statement by statement', () => {
  points(
    {
      'before COPY': { needle: COPY, from: 'client', when: 'before' },
      'after COPY': { needle: LAST_STATEMENT, from: 'client', after: COPY, when: 'before' },
      'before COMMIT': { ...COMMIT, when: 'before' },
      'after COMMIT, with its answer on the way, so before the offset commit': {
        ...COMMIT,
        when: 'answered',
      },
    },
    (point) => survives('embedded', 'database', point, { smallBatches: false }),
  );
});

describe('kill -9 as the broker of its own acknowledges a reading', () => {
  points(
    {
      'before PUBACK': { needle: PUBACK, from: 'server', when: 'before' },
      'behind PUBACK': { needle: PUBACK, from: 'server', when: 'behind' },
    },
    (point) => survives('embedded', 'mqtt', point, { least: leastAt(point) }),
  );
});

describe('kill -9 as the bridge acknowledges a reading to an outside broker', () => {
  points(
    {
      'before PUBACK': { needle: PUBACK, from: 'client', when: 'before' },
      'behind PUBACK': { needle: PUBACK, from: 'client', when: 'behind' },
    },
    (point) => survives('outside', 'mqtt', point, { least: leastAt(point) }),
  );
});

describe('kill -9 as an alert is published', () => {
  points(
    {
      'before PUBLISH': { ...ALERT, when: 'before' },
      'after PUBLISH, before PUBACK is seen': { ...ALERT, when: 'answered' },
    },
    (point) => survives('outside', 'mqtt', point),
  );
  points(
    {
      'after PUBACK, before its position is stored': {
        needle: 'WITH published AS',
        from: 'client',
        when: 'before',
      },
    },
    (point) => survives('outside', 'database', point),
  );
});
