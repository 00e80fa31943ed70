/** The embedded log's writer thread: owns the file, answers one command at a time. */

import { StartError } from '../../domain/start-error.ts';
import {
  type Batch,
  type DropRequest,
  describeWriteError,
  type LogFile,
  type LogFileState,
  openLogFile,
  type Position,
} from './embedded-log-file.ts';

export type Command =
  | { type: 'open'; file: string; topic: string; partitions: number }
  | { type: 'append'; batch: Batch; positions: Position[] }
  | { type: 'drop'; request: DropRequest; positions: Position[] }
  | { type: 'save'; positions: Position[] }
  | { type: 'close'; positions: Position[] };

export type Reply =
  | { type: 'opened'; logId: string; state: LogFileState; positions: Position[] }
  | { type: 'done'; state: LogFileState; dropped: number; more: boolean }
  | { type: 'closed' }
  | { type: 'failed'; startFault: boolean; message: string };

// In a worker `self` is its own scope; the DOM's types only know the window's.
const port = self as unknown as {
  onmessage: (event: MessageEvent<Command>) => void;
  postMessage(reply: Reply): void;
};

let log: LogFile | undefined;
let openFile = '';

port.onmessage = ({ data: command }) => {
  let reply: Reply;
  try {
    reply = answer(command);
  } catch (error) {
    const startFault = error instanceof StartError;
    const message = startFault ? error.message : describeWriteError(error, openFile);
    reply = { type: 'failed', startFault, message };
  }
  port.postMessage(reply);
};

function answer(command: Command): Reply {
  if (command.type === 'open') {
    openFile = command.file;
    log = openLogFile(command);
    return { type: 'opened', logId: log.logId, state: log.state(), positions: log.positions() };
  }
  if (!log) throw new Error('the log is not open');
  switch (command.type) {
    case 'append':
      log.append(command.batch, command.positions);
      return { type: 'done', state: log.state(), dropped: 0, more: false };
    case 'drop': {
      const outcome = log.drop(command.request, command.positions);
      return { type: 'done', state: log.state(), ...outcome };
    }
    case 'save':
      log.save(command.positions);
      return { type: 'done', state: log.state(), dropped: 0, more: false };
    case 'close':
      try {
        if (command.positions.length > 0) log.save(command.positions);
      } finally {
        log.close();
        log = undefined;
      }
      return { type: 'closed' };
  }
}
