import { type Profiler, Session } from 'node:inspector/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CpuSeconds } from './cpu.ts';
import { startServer } from './database.ts';
import { fill, runEngine } from './engine-run.ts';
import { noKafkaNote } from './ingest-logs.ts';
import type { Around, Row, Suite } from './suite.ts';
import { FLEET } from './workload.ts';

const RULES = 5;
const CASES = ['Kafka', 'embedded'] as const;
const ROWS_OF_A_CASE = 8;
const FUNCTIONS_SHOWN = 4;
const ROOT = `${import.meta.dirname}/..`;

/** By the innermost caller whose file begins so: what native code does is its caller's. */
const COSTS: [prefix: string, name: string][] = [
  ['src/engine/decode.ts', 'decode'],
  ['src/domain/json.ts', 'decode'],
  ['src/domain/topic.ts', 'decode'],
  ['src/domain/reducer.ts', 'evaluate'],
  ['src/engine/evaluate.ts', 'evaluate'],
  ['src/engine/batch.ts', 'evaluate'],
  ['src/store/copy-readings.ts', 'encode for COPY'],
  ['src/store/encode-copy.ts', 'encode for COPY'],
  ['src/store/device-state.ts', 'device states'],
  ['src/store', 'other statements'],
  ['node_modules/postgres', 'Postgres client and its socket'],
  ['node_modules/kafkajs', 'Kafka client and its socket'],
  ['src/engine/sources', 'reading the log'],
  ['src/engine', 'lanes'],
];

export const profileSuite: Suite = {
  name: 'profile',
  title: 'The largest costs of the hot path',
  about:
    `Where the process is while it stores a full log of ${FLEET.name} with ${RULES} rules: samples of ` +
    'its main thread, by the innermost of our files or libraries that was at work; native code ' +
    'counts for who called it. Microseconds are its share of the CPU time of the process.',
  columns: [
    { key: 'share', title: 'share, %', digits: 1 },
    { key: 'micros', title: 'µs/row', digits: 2 },
    { key: 'functions', title: 'functions at work' },
  ],
  cases: CASES,
  measure,
};

async function* measure(cases: readonly string[], { records }: Around): AsyncGenerator<Row, void> {
  const server = await startServer();
  try {
    for (const kind of cases as typeof CASES) {
      const note = kind === 'Kafka' ? noKafkaNote() : null;
      if (note !== null) {
        yield { name: kind, note };
        continue;
      }
      const filled = await fill(kind, { ...FLEET, records }, server);
      const options = { ...filled, rules: RULES, users: FLEET.users };
      // Once before, for the compiler.
      await runEngine({ ...options, url: await server.freshDatabase() });
      const { cpu, profile } = await profiled((hooks) =>
        server.freshDatabase().then((url) => runEngine({ ...options, ...hooks, url })),
      );
      for (const { name, ...row } of costsOf(profile, cpu))
        yield { name: `${kind}: ${name}`, ...row };
      await filled.log.close();
    }
  } finally {
    await server.remove();
  }
}

interface Hooks {
  onBegin(): Promise<void>;
  onEnd(): Promise<void>;
}

async function profiled(
  run: (hooks: Hooks) => Promise<{ cpu: CpuSeconds }>,
): Promise<{ cpu: CpuSeconds; profile: Profiler.Profile }> {
  const session = new Session();
  session.connect();
  let profile: Profiler.Profile = { nodes: [], startTime: 0, endTime: 0 };
  const { cpu } = await run({
    async onBegin() {
      await session.post('Profiler.enable');
      await session.post('Profiler.start');
    },
    async onEnd() {
      ({ profile } = await session.post('Profiler.stop'));
    },
  });
  session.disconnect();
  return { cpu, profile };
}

/** The largest first. */
function costsOf({ nodes, samples = [] }: Profiler.Profile, cpu: CpuSeconds) {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((c) => [c, id])));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const costs = new Map<string, { samples: number; functions: Map<string, number> }>();
  for (const id of samples) {
    const name = costOf(id);
    const cost = costs.get(name) ?? { samples: 0, functions: new Map() };
    const leaf = byId.get(id)?.callFrame.functionName || '(anonymous)';
    cost.samples++;
    cost.functions.set(leaf, (cost.functions.get(leaf) ?? 0) + 1);
    costs.set(name, cost);
  }

  function costOf(id: number): string {
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const file = fileOf(byId.get(at)?.callFrame.url ?? '');
      const found = COSTS.find(([prefix]) => file.startsWith(prefix));
      if (found) return found[1];
    }
    return 'the runtime itself';
  }

  const largest = [...costs].sort(([, a], [, b]) => b.samples - a.samples);
  return largest.slice(0, ROWS_OF_A_CASE).map(([name, cost]) => {
    const share = cost.samples / Math.max(1, samples.length);
    const functions = [...cost.functions].sort(([, a], [, b]) => b - a);
    const shown = functions.slice(0, FUNCTIONS_SHOWN).map(([one]) => one);
    return { name, share: share * 100, micros: share * cpu.self, functions: shown.join(', ') };
  });
}

function fileOf(url: string): string {
  return url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : relative(ROOT, url || '/');
}
