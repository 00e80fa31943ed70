import { afterEach, expect, test } from 'bun:test';
import type { LogMessage } from '../src/domain/log.ts';
import { parseTraceparent } from '../src/domain/trace-context.ts';
import { startTracing, type Tracing } from '../src/tracing.ts';
import { startCollector } from './support/collector.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const message: LogMessage = { topic: 't', key: 'k', value: new Uint8Array(3) };

function tracing(endpoint: string, ratio: number, warnings: string[] = []): Tracing {
  const warn = (_: object, text: string) => void warnings.push(text);
  const options = { endpoint, headers: {}, serviceName: 'test', ratio };
  const started = startTracing({ ...options, logger: { warn } as never });
  closing.push(() => started.close());
  return started;
}

function collector() {
  const started = startCollector();
  closing.push(() => started.close());
  return started;
}

test('the share of messages that is asked for is followed, and the others go as they are', async () => {
  const { url, spans } = collector();
  for (const [ratio, least, most] of [
    [0, 0, 0],
    [0.5, 300, 700],
    [1, 1_000, 1_000],
  ] as const) {
    const taken: LogMessage[] = [];
    const traced = tracing(url, ratio);
    const appender = traced.tracer.appender({
      append: async (one) => {
        taken.push(one);
      },
    });
    for (let n = 0; n < 1_000; n++) await appender.append(message);
    await traced.close();
    const followed = taken.filter(({ traceparent }) => traceparent !== undefined);
    expect(followed.length).toBeGreaterThanOrEqual(least);
    expect(followed.length).toBeLessThanOrEqual(most);
    for (const { traceparent = '', ...rest } of followed) {
      expect(parseTraceparent(traceparent)).not.toBeNull();
      expect(rest).toEqual(message);
    }
    expect(spans.splice(0)).toHaveLength(followed.length);
  }
}, 30_000);

test('a message that the log refuses has a span that says so, and the refusal goes on', async () => {
  const { url, spans } = collector();
  const traced = tracing(url, 1);
  const refusing = { append: () => Promise.reject(new Error('the disk is full')) };
  await expect(traced.tracer.appender(refusing).append(message)).rejects.toThrow('disk is full');
  await traced.close();
  expect(spans).toMatchObject([{ name: 'publish', status: { message: 'the disk is full' } }]);
}, 30_000);

test('a collector that is away costs a warning and nothing else', async () => {
  const away = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response() });
  const url = `http://127.0.0.1:${away.port}`;
  await away.stop(true);
  const warnings: string[] = [];
  const traced = tracing(url, 1, warnings);
  const appender = traced.tracer.appender({ append: async () => {} });
  for (let n = 0; n < 5_000; n++) await appender.append(message);
  await traced.close();
  expect(warnings).toEqual(['spans do not reach the collector']);
}, 60_000);
