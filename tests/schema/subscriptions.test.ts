import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect as dial } from 'node:net';
import type { Client } from 'graphql-ws';
import type { AlertEvent } from '../../src/domain/alert.ts';
import type { Reading } from '../../src/domain/reading.ts';
import { connect } from '../../src/store/connection.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { pruneAlertEvents } from '../../src/store/prune-alert-events.ts';
import { commitEvent, type Stage, seedAlert, seedReadings, stage, until } from './support.ts';

const NAMES = `fragment names on Alert {
  id ruleId user { id } ... on Alert { device { deviceId user { id } } }
}`;

let on: Stage;
beforeAll(async () => {
  on = await stage();
  await seedAlert(on.sql, { id: 'alert', severity: 'WARNING' });
}, 30_000);
afterAll(() => on.close());

let ids = 0;
const commit = (
  event: { userId?: string; deviceId?: string; severity?: string } = {},
  sql = on.sql,
) => commitEvent(sql, { id: `s${++ids}`, alertId: 'alert', ...event });

interface Subscribed {
  seqs: number[];
  codes: unknown[];
  done: Promise<void>;
  leave: () => void;
}

function subscribe(client: Client, args: string, fields = 'seq'): Subscribed {
  const seqs: number[] = [];
  const codes: unknown[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const leave = client.subscribe<{ alertEvents: AlertEvent }>(
    { query: `subscription { alertEvents${args} { ${fields} } }` },
    {
      next: ({ data, errors }) => {
        if (data?.alertEvents) seqs.push(data.alertEvents.seq);
        codes.push(...(errors ?? []).map(({ extensions }) => extensions?.code));
      },
      error: (error) => {
        const errors = Array.isArray(error) ? error : [];
        codes.push(...errors.map(({ extensions }) => extensions?.code));
        resolve();
      },
      complete: resolve,
    },
  );
  return { seqs, codes, done: promise, leave };
}

test('the backlog, then live events, without a gap, from several connections at once', async () => {
  const writers = Array.from({ length: 4 }, () => connect(on.url, { max: 1 }));
  try {
    const committed: number[] = [];
    let going = true;
    const writing = writers.map(async (sql) => {
      while (going) committed.push(await commit({}, sql));
    });
    const after = 0;
    const subscribed: Subscribed[] = [];
    for (let n = 0; n < 5; n++) {
      const target = committed.length + 60;
      await until(() => committed.length >= target, 10_000);
      subscribed.push(subscribe(on.client(), `(after: ${after})`));
    }
    going = false;
    await Promise.all(writing);
    const all = (await on.sql<{ seq: number }[]>`SELECT seq FROM alert_events ORDER BY seq`).map(
      (row) => row.seq,
    );
    expect(all.length).toBeGreaterThan(300);
    for (const { seqs, leave } of subscribed) {
      await until(() => seqs.length >= all.length, 10_000);
      expect(seqs).toEqual(all);
      leave();
    }
  } finally {
    await Promise.all(writers.map((sql) => sql.end({ timeout: 1 })));
  }
}, 60_000);

test('an alert of which names alone are asked for is not read', async () => {
  const after = await commit();
  const received: unknown[] = [];
  const ask = (fields: string) =>
    on.client().subscribe(
      { query: `${NAMES} subscription { alertEvents(after: ${after}) { alert { ${fields} } } }` },
      {
        next: ({ data, errors }) =>
          received.push(errors?.map(({ extensions }) => extensions?.code) ?? data?.alertEvents),
        error: () => {},
        complete: () => {},
      },
    );
  // There is none to be read.
  await commitEvent(on.sql, { id: `s${++ids}`, alertId: 'gone', deviceId: 'dev_2' });
  const leaves = [ask('...names'), ask('...names status'), ask('...names device { lastSeenAt }')];
  await until(() => received.length === 3);
  for (const leave of leaves) leave();
  const alert = {
    ...{ id: 'gone', ruleId: 'temperature-gt', user: { id: 'user_1' } },
    device: { deviceId: 'dev_2', user: { id: 'user_1' } },
  };
  expect(received).toContainEqual({ alert });
  expect(received.filter((answer) => Array.isArray(answer))).toEqual([
    ['NOT_FOUND'],
    ['NOT_FOUND'],
  ]);
});

test('an event with all its fields, read anew each time', async () => {
  const client = on.client();
  const after = await commit();
  const received: { status: string; alert: { severity: string } }[] = [];
  const leave = client.subscribe<{ alertEvents: (typeof received)[0] }>(
    {
      query: `subscription { alertEvents(after: ${after}) { seq type status time value message actor
        alert { id severity user { id } device { deviceId } } } }`,
    },
    {
      next: ({ data }) => {
        if (data) received.push(data.alertEvents);
      },
      error: () => {},
      complete: () => {},
    },
  );
  await commit();
  await until(() => received.length === 1);
  await on.sql`UPDATE alerts SET severity = 'CRITICAL' WHERE id = 'alert'`;
  await commit();
  await until(() => received.length === 2);
  await on.sql`UPDATE alerts SET severity = 'WARNING' WHERE id = 'alert'`;
  expect(received.map(({ alert }) => alert.severity)).toEqual(['WARNING', 'CRITICAL']);
  expect(received[0]).toMatchObject({ type: 'FIRED', status: 'FIRING', value: 81.5 } as never);
  leave();
});

test('filters by user, device and severity', async () => {
  const client = on.client();
  const after = await commit();
  const seqs = [
    await commit({ userId: 'fa', deviceId: 'd1', severity: 'INFO' }),
    await commit({ userId: 'fa', deviceId: 'd2', severity: 'WARNING' }),
    await commit({ userId: 'fb', deviceId: 'd1', severity: 'CRITICAL' }),
  ] as const;
  const cases: [string, number[]][] = [
    [`(after: ${after})`, [...seqs]],
    [`(after: ${after}, userId: "fa")`, [seqs[0], seqs[1]]],
    [`(after: ${after}, deviceId: "d1")`, [seqs[0], seqs[2]]],
    [`(after: ${after}, minSeverity: WARNING)`, [seqs[1], seqs[2]]],
    [`(after: ${after}, userId: "fa", minSeverity: WARNING, deviceId: "d2")`, [seqs[1]]],
  ];
  for (const [args, expected] of cases) {
    const subscribed = subscribe(client, args);
    await until(() => subscribed.seqs.length >= expected.length);
    expect(subscribed.seqs).toEqual(expected);
    subscribed.leave();
  }
});

test('without after only what comes', async () => {
  const newest = await commit();
  const subscribed = subscribe(on.client(), '');
  await until(() => {
    void commit();
    return subscribed.seqs.length > 0;
  });
  expect(subscribed.seqs[0]).toBeGreaterThan(newest);
  subscribed.leave();
});

test('an after that is too new or past retention is OUT_OF_RANGE', async () => {
  const newest = await commit();
  const above = subscribe(on.client(), `(after: ${newest + 1_000_000})`);
  await above.done;
  expect(above.codes).toEqual(['OUT_OF_RANGE']);
  const negative = subscribe(on.client(), '(after: -1)');
  await negative.done;
  expect(negative.codes).toEqual(['OUT_OF_RANGE']);
  await on.sql`UPDATE alert_events SET published_at = now() WHERE seq <= 10`;
  expect(await pruneAlertEvents(on.sql, { before: (Date.now() + 60_000) * 1_000 })).toBe(10);
  const old = subscribe(on.client(), '(after: 9)');
  await old.done;
  expect(old.codes).toEqual(['OUT_OF_RANGE']);
  const kept = subscribe(on.client(), '(after: 10)');
  await until(() => kept.seqs.length > 10);
  expect(kept.seqs[0]).toBe(11);
  kept.leave();
});

test('a burst reaches many at once, all of it in order, each time', async () => {
  const client = on.client();
  const from = on.tail.newest();
  const many = Array.from({ length: 50 }, () => subscribe(client, `(after: ${from})`));
  const committed: number[] = [];
  for (let n = 0; n < 300; n++) committed.push(await commit());
  await until(() => many.every(({ seqs }) => seqs.length >= 300), 20_000);
  for (const { seqs } of many) expect(seqs).toEqual(committed);
  for (const { leave } of many) leave();
}, 60_000);

test('leaving while nothing happens frees the source at once', async () => {
  const client = on.client();
  const device = { userId: 'user_1', deviceId: 'left' };
  let freed = 0;
  const { watch } = on.feed;
  on.feed.watch = (watched, signal) => {
    signal.addEventListener('abort', () => freed++);
    return watch(watched, signal);
  };
  try {
    let started = false;
    on.feed.watch = ((inner) => (watched, signal) => {
      started = true;
      return inner(watched, signal);
    })(on.feed.watch);
    const leave = client.subscribe(
      { query: `subscription { readings(userId: "${device.userId}", deviceId: "left") { time } }` },
      { next: () => {}, error: () => {}, complete: () => {} },
    );
    await until(() => started);
    leave();
    await until(() => freed === 1, 1_000);
  } finally {
    on.feed.watch = watch;
  }
});

function reading(deviceId: string, sequenceId: number): Reading {
  return {
    time: 1_700_000_000_000_000 + sequenceId,
    userId: 'user_1',
    deviceId,
    sequenceId,
    columns: { temperature: 20.5, battery: 90 },
    extra: {
      serial: (JSON as never as { rawJSON(t: string): never }).rawJSON('12345678901234567890'),
    },
  };
}

test('readings of one device as they are stored, every digit kept', async () => {
  const client = on.client();
  const texts: string[] = [];
  const query = `subscription { readings(userId: "user_1", deviceId: "r1") {
    time sequenceId temperature battery extraData } }`;
  // Beside the client's own parsing, which rounds: what came over the socket.
  const socket = new WebSocket(
    `${on.server.url.replace('http', 'ws')}/graphql`,
    'graphql-transport-ws',
  );
  socket.onopen = () => socket.send('{"type":"connection_init"}');
  socket.onmessage = ({ data }) => {
    texts.push(String(data));
    if (String(data).includes('connection_ack')) {
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
    }
  };
  const got: number[] = [];
  const leave = client.subscribe<{ readings: { sequenceId: number } }>(
    { query },
    {
      next: ({ data }) => data && got.push(data.readings.sequenceId),
      error: () => {},
      complete: () => {},
    },
  );
  let sequenceId = 0;
  await until(() => {
    on.feed.publish([reading('r1', ++sequenceId), reading('r2', sequenceId)]);
    return got.length > 3 && texts.some((text) => text.includes('"next"'));
  });
  expect(got).toEqual(got.map((_, i) => (got[0] as number) + i));
  expect(texts.find((text) => text.includes('"next"'))).toContain('12345678901234567890');
  leave();
  socket.close();
});

test('readings that another process stores come too', async () => {
  const got: number[] = [];
  const leave = on.client().subscribe<{ readings: { sequenceId: number } }>(
    { query: 'subscription { readings(userId: "user_1", deviceId: "remote") { sequenceId } }' },
    {
      next: ({ data }) => data && got.push(data.readings.sequenceId),
      error: () => {},
      complete: () => {},
    },
  );
  let sequenceId = 0;
  const deadline = performance.now() + 10_000;
  while (got.length < 3 && performance.now() < deadline) {
    const time = 1_700_000_000_000_000 + ++sequenceId;
    await seedReadings(on.sql, [{ time, deviceId: 'remote', sequenceId }]);
    await on.sql`INSERT INTO device_state (user_id, device_id, partition, version, first_seen_at,
        newest_time, last_arrival_at, rules)
      VALUES ('user_1', 'remote', 0, 1, now(), ${time}, now(), '{}')
      ON CONFLICT (user_id, device_id)
      DO UPDATE SET version = device_state.version + 1, newest_time = EXCLUDED.newest_time`;
    await Bun.sleep(20);
  }
  leave();
  expect(got.length).toBeGreaterThanOrEqual(3);
  expect(got).toEqual(got.map((_, i) => (got[0] as number) + i));
}, 15_000);

test('a device that no topic can name is refused', async () => {
  const { errors } = await on.query(
    'subscription { readings(userId: "u", deviceId: "a\\u0000") { time } }',
  );
  expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
});

test('a reader that falls too far behind the readings is told so', async () => {
  const query = 'subscription { readings(userId: "user_1", deviceId: "flood") { sequenceId } }';
  const errors: unknown[] = [];
  let over = false;
  on.client().subscribe(
    { query },
    {
      next: (result) => {
        errors.push(...(result.errors ?? []).map(({ extensions }) => extensions?.code));
      },
      error: () => {},
      complete: () => {
        over = true;
      },
    },
  );
  await until(() => {
    on.feed.publish(Array.from({ length: 1_000 }, (_, n) => reading('flood', n)));
    return over;
  });
  expect(errors).toEqual(['UNAVAILABLE']);
});

test('a subscriber that does not read pulls nothing, harms nobody, and misses nothing', async () => {
  const stalled = await stalledSubscriber(on.server.port);
  try {
    const from = on.tail.newest();
    const reads: number[] = [];
    const { read } = on.tail;
    on.tail.read = (after, ...rest) => {
      reads.push(after);
      return read(after, ...rest);
    };
    const message = 'x'.repeat(20_000);
    for (let n = 0; n < 20; n++) {
      await on.sql`WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(${LOCKS.alertSeq}))
        INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
          severity, message, time, started_at)
        SELECT nextval('alert_events_seq'), ${`slow${n}`} || '-' || i, 'alert', 'FIRED', 'FIRING',
          'user_1', 'dev_1', 'r', 'INFO', ${message}, now(), now()
        FROM locked, generate_series(1, 100) i`;
    }
    await until(() => on.tail.newest() >= from + 2_000, 20_000);
    const pulled = reads.length;
    const quick = subscribe(on.client(), `(after: ${from})`);
    await until(() => quick.seqs.length === 2_000, 20_000);
    quick.leave();
    on.tail.read = read;
    // 40 MB wait for it: far more than the buffers on the way hold, so it has not come to the end.
    expect(Math.max(...reads.slice(0, pulled))).toBeLessThan(from + 1_500);
    stalled.resume();
    await until(() => stalled.seqs().length >= 2_000, 20_000);
    expect(stalled.seqs()).toEqual(quick.seqs);
  } finally {
    stalled.end();
  }
}, 60_000);

/** A WebSocket client by hand, which subscribes and does not read until it is told to. */
async function stalledSubscriber(
  port: number,
): Promise<{ resume: () => void; seqs: () => number[]; end: () => void }> {
  const socket = dial(port, '127.0.0.1');
  const received: string[] = [];
  const text = () => received.join('');
  socket.on('data', (bytes) => received.push(bytes.toString('latin1')));
  const send = (message: object) => {
    const body = Buffer.from(JSON.stringify(message));
    const length = Buffer.alloc(2);
    length.writeUInt16BE(body.length);
    // A text frame with a mask of zeros, its length in two bytes.
    socket.write(Buffer.concat([Buffer.from([0x81, 0xfe]), length, Buffer.alloc(4), body]));
  };
  socket.write(
    `GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\n` +
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
      'Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n',
  );
  await until(() => text().includes(' 101 '));
  send({ type: 'connection_init' });
  await until(() => text().includes('connection_ack'));
  send({
    id: '1',
    type: 'subscribe',
    payload: { query: 'subscription { alertEvents { seq message } }' },
  });
  // Its first event says that it is subscribed.
  const probes: Promise<number>[] = [];
  await until(() => {
    probes.push(commit());
    return text().includes('"next"');
  });
  const seqs = await Promise.all(probes);
  await until(() => text().includes(`"seq":${Math.max(...seqs)},`));
  socket.pause();
  return {
    resume: () => socket.resume(),
    seqs: () => {
      const all = [...text().matchAll(/"seq":(\d+),"message":"xxx/g)];
      return all.map((match) => Number(match[1]));
    },
    end: () => socket.destroy(),
  };
}
