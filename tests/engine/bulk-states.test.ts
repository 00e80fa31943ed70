import { afterEach, expect, test } from 'bun:test';
import { createStatementCounter } from '../support/statement-counter.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import { type EngineStage, engineStage, HOT, writeRules } from './engine-stage.ts';

const TIMEOUT_MS = 60_000;
const BATCHES = 6;

const stages: EngineStage[] = [];
const proxies: TcpProxy[] = [];
afterEach(async () => {
  for (const stage of stages.splice(0)) await stage.close();
  for (const proxy of proxies.splice(0)) await proxy.close();
}, 30_000);

/** Statements that a lane sends for six batches of these many devices, each of which fires. */
async function statementsFor(devicesPerBatch: number): Promise<number> {
  const stage = await engineStage();
  stages.push(stage);
  const counter = createStatementCounter();
  const proxy = await tcpProxy(stage.db.url, counter);
  proxies.push(proxy);
  await writeRules(stage.sql, 'ann', [HOT]);
  const devices = BATCHES * devicesPerBatch;
  // They are known, but to another engine: each batch has to read the states of its devices.
  const round = (seq: number, temperature: number) =>
    Array.from({ length: devices }, (_, n) => ({ device: `d${n}`, at: seq, seq, temperature }));
  const policy = { maxRows: devicesPerBatch, maxWaitMs: 60_000 };
  const options = { policy };
  const first = await stage.start({ options });
  await stage.send(...round(0, 20));
  await stage.stored();
  await first.stop();
  // All is in the log before the lane begins, so that batches are cut at their size alone.
  await stage.send(...round(1, 90));
  const one = await stage.start({ options, laneUrl: proxy.url });
  await stage.stored();
  expect(one.engine.status().counters.batches).toBe(BATCHES);
  expect(await stage.count("alerts WHERE status = 'FIRING'")).toBe(devices);
  await one.stop();
  return counter.count;
}

test(
  'a batch takes as many statements for a hundred devices as for two',
  async () => {
    const few = await statementsFor(2);
    expect(few).toBeGreaterThan(BATCHES);
    // A connection more, opened as the other one was busy, has statements of its own.
    expect(await statementsFor(100)).toBeLessThan(few + BATCHES);
  },
  TIMEOUT_MS,
);
