import { StartError } from '../../domain/start-error.ts';
import type { Command, Reply } from './embedded-log-worker.ts';

type Done = Extract<Reply, { type: 'done' }>;
type Opened = Extract<Reply, { type: 'opened' }>;
type Change = Exclude<Command, { type: 'open' | 'close' }>;

/** The main thread's end of the writer thread. Callers send one command at a time. */
export interface LogWriter {
  open(command: Extract<Command, { type: 'open' }>): Promise<Opened>;
  /** @throws Error that says why nothing of it was written */
  write(command: Change): Promise<Done>;
  /** Saves the positions, closes the file and ends the thread. */
  close(command: Extract<Command, { type: 'close' }>): Promise<void>;
}

export function startLogWriter(): LogWriter {
  const worker = new Worker(new URL('./embedded-log-worker.ts', import.meta.url).href);
  let pending: { resolve: (reply: Reply) => void; reject: (error: Error) => void } | undefined;
  let dead: Error | undefined;

  function settle(act: (waiting: NonNullable<typeof pending>) => void): void {
    const waiting = pending;
    pending = undefined;
    if (waiting) act(waiting);
  }
  function die(why: string): void {
    dead ??= new Error(`the embedded log's writer thread has ended (${why}): restart Pulsegraph`);
    const error = dead;
    settle((waiting) => waiting.reject(error));
  }
  worker.onmessage = ({ data }: MessageEvent<Reply>) => settle((waiting) => waiting.resolve(data));
  worker.onerror = (event) => die(event.message);
  worker.addEventListener('close', () => die('closed'));

  function send(command: Command): Promise<Reply> {
    if (dead) return Promise.reject(dead);
    if (pending) return Promise.reject(new Error('the log writer takes one command at a time'));
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    pending = { resolve, reject };
    // The values change owner: cloning a slice would copy the whole pooled buffer behind it.
    worker.postMessage(command, command.type === 'append' ? [command.batch.values.buffer] : []);
    return promise;
  }

  return {
    async open(command) {
      const reply = await send(command);
      if (reply.type === 'opened') return reply;
      worker.terminate();
      throw new StartError(
        'DATA_DIR_UNUSABLE',
        reply.type === 'failed' ? reply.message : 'the log did not open',
      );
    },
    async write(command) {
      const reply = await send(command);
      if (reply.type === 'done') return reply;
      throw new Error(reply.type === 'failed' ? reply.message : `unexpected ${reply.type}`);
    },
    async close(command) {
      try {
        const reply = await send(command);
        if (reply.type === 'failed') throw new Error(reply.message);
      } finally {
        worker.terminate();
      }
    },
  };
}
