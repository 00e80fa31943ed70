import type { Browser } from 'playwright-core';

/** What the thread that runs a page did, in milliseconds. */
export interface RendererWork {
  /** CPU of each task by the thread's own clock, which stands still while others compute. */
  tasks: number[];
  /** CPU of all tasks from the beginning of a frame to that of the next. */
  frames: number[];
  /** From a frame to the next by the wall's clock: whatever else the machine does is in it. */
  gaps: number[];
}

interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  /** Microseconds; `tdur` by the thread's clock. */
  ts: number;
  tdur?: number;
  args?: { name?: string };
}

const CATEGORIES = ['toplevel', 'disabled-by-default-devtools.timeline.frame', '__metadata'];
const MAIN_THREAD = 'CrRendererMain';
const TASK = 'ThreadControllerImpl::RunTask';
const FRAME = 'BeginMainThreadFrame';

/**
 * Of the page that has the most frames while `work` runs: it has to ask for them.
 *
 * @throws Error where Chromium's trace has no frames or no CPU times
 */
export async function traceRenderer(
  browser: Browser,
  work: () => Promise<void>,
): Promise<RendererWork> {
  await browser.startTracing(undefined, { categories: CATEGORIES });
  let trace: Buffer;
  try {
    await work();
  } finally {
    trace = await browser.stopTracing();
  }
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: TraceEvent[] };
  return workOf(mainThread(traceEvents));
}

/** Chromium keeps a spare renderer: the page's is the one that drew the most frames. */
function mainThread(events: readonly TraceEvent[]): TraceEvent[] {
  const threads = new Map<string, TraceEvent[]>();
  const idOf = ({ pid, tid }: TraceEvent) => `${pid}/${tid}`;
  for (const event of events) {
    const isMain = event.name === 'thread_name' && event.args?.name === MAIN_THREAD;
    if (isMain) threads.set(idOf(event), []);
  }
  for (const event of events) threads.get(idOf(event))?.push(event);
  const framesOf = (thread: TraceEvent[]) => thread.filter(({ name }) => name === FRAME).length;
  const [most = []] = [...threads.values()].sort((a, b) => framesOf(b) - framesOf(a));
  return most.sort((a, b) => a.ts - b.ts);
}

function workOf(events: readonly TraceEvent[]): RendererWork {
  const work: RendererWork = { tasks: [], frames: [], gaps: [] };
  let begun: number | null = null;
  for (const { name, ts, tdur } of events) {
    if (name === FRAME) {
      if (begun !== null) work.gaps.push((ts - begun) / 1_000);
      begun = ts;
      work.frames.push(0);
    } else if (name === TASK && tdur !== undefined) {
      work.tasks.push(tdur / 1_000);
      const frame = work.frames.length - 1;
      if (frame >= 0) work.frames[frame] = (work.frames[frame] as number) + tdur / 1_000;
    }
  }
  if (work.frames.length === 0 || work.tasks.length === 0)
    throw new Error('the trace of Chromium has no frames, or no tasks with CPU times');
  return work;
}
