import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import {
  createOffsetCommits,
  type OffsetCommits,
  type PartitionOffset,
  SEND_DEADLINE_MS,
} from '../../../src/engine/sources/kafka-commits.ts';
import { eventually } from '../../support/process.ts';
import { logger } from './kafka-log.ts';

/** Far more than it takes, and less than an answer is waited for. */
const WITHIN_MS = SEND_DEADLINE_MS / 2;

/** What reached the broker, as text: `0@5 1@7`. */
let sent: string[];
/** The first request, which gets no answer. */
let commits: OffsetCommits;
beforeEach(() => {
  sent = [];
  commits = createOffsetCommits({
    send: (offsets) =>
      sent.push(textOf(offsets)) === 1 ? new Promise(() => {}) : Promise.resolve(),
    intervalMs: 1,
    logger,
  });
});
afterEach(() => commits.stop());

const textOf = (offsets: PartitionOffset[]) =>
  offsets.map(({ partition, offset }) => `${partition}@${offset}`).join(' ');

describe('a commit that gets no answer', () => {
  beforeEach(async () => {
    commits.commit(0, 5);
    await eventually('it is sent', () => sent.length === 1);
    commits.commit(1, 7);
  });

  test('holds up nothing once the group was joined again', async () => {
    commits.resend();
    await eventually('all is sent anew', () => sent.length === 2, WITHIN_MS);
    expect(sent).toEqual(['0@5', '1@7 0@5']);
  });

  test('is sent anew in time, though nobody joins', async () => {
    await eventually('the rest goes on', () => sent.length > 1, 3 * SEND_DEADLINE_MS);
    await eventually('all is sent', () => sent.join(' ').includes('1@7'), WITHIN_MS);
    expect(sent.slice(1).join(' ').split(' ').sort()).toEqual(['0@5', '1@7']);
  }, 60_000);
});
