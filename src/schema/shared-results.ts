import {
  type ASTNode,
  createSourceEventStream,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  Kind,
  OperationTypeNode,
  visit,
} from 'graphql';
import type { Plugin } from 'graphql-yoga';
import type { Context, Push } from './context.ts';
import { cleaned } from './errors.ts';
import { createRecent, type Recent } from './recent.ts';
import type { Deliveries, Delivery } from './subscription.ts';

/** To one event, for all who ask alike. */
interface Answer {
  making: Promise<ExecutionResult>;
  /** Null until it is made. */
  result: ExecutionResult | null;
  /** As JSON, once somebody wanted it so. */
  text: string | null;
}

const OVER = { done: true, value: undefined } as const;

type Answers = Recent<object, Map<string, Answer>>;

/** As old as an answer may be that another subscriber gets: `alert` is as it is now. */
const SHARED_MS = 500;

/**
 * A thousand apps that subscribe in the same words ask for the same answer to each event: it is
 * worked out once. Each still pulls at its own pace; who comes later than others gets one of their
 * own. Answers are shared by those who see alike: the same viewer, document and variables.
 */
export function sharedResults(): Plugin<Context> {
  const recent: Answers = createRecent(SHARED_MS);
  return {
    onSubscribe({ setSubscribeFn }) {
      setSubscribeFn((args: ExecutionArgs) => subscribe(args, recent));
    },
  };
}

async function subscribe(
  args: ExecutionArgs,
  recent: Answers,
): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
  const stream = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in stream)) return stream;
  const source = stream[Symbol.asyncIterator]() as AsyncGenerator<Deliveries<object>>;
  const answerTo = answering(args, recent);
  const { push } = (args.contextValue as Context).door;
  /** Pulled, and not yielded yet. */
  let waiting: Answer[] = [];
  let isLeft = false;
  /** What follows would be behind a gap. */
  let isCut = false;

  /** To the next events, in order; null after the last. All begin at once and read together. */
  async function pull(): Promise<Answer[] | null> {
    const { done, value } = await (isCut ? source.return(undefined) : source.next());
    if (done) return null;
    return 'error' in value ? [answerAlone(args, value)] : value.events.map(answerTo);
  }

  async function yieldNext(): Promise<IteratorResult<ExecutionResult>> {
    if (isCut) waiting = [];
    while (waiting.length === 0) {
      const answers = await pull();
      if (answers === null) return OVER;
      waiting = answers;
    }
    const value = await (waiting.shift() as Answer).making;
    isCut = isLost(value);
    return { done: false, value };
  }

  /** All of them, to the end. */
  async function pushAll(push: Push): Promise<IteratorResult<ExecutionResult>> {
    for (let answers = await pull(); answers !== null; answers = await pull()) {
      for (const answer of answers) {
        const result = answer.result ?? (await answer.making);
        if (isLeft) return OVER;
        isCut = isLost(result);
        answer.text ??= JSON.stringify(result);
        const full = push(answer.text);
        if (full !== undefined) await full;
        if (isCut) break;
      }
    }
    return OVER;
  }

  async function end(ending: Promise<unknown>): Promise<IteratorResult<ExecutionResult>> {
    isLeft = true;
    waiting = [];
    await ending;
    return OVER;
  }

  const results: AsyncIterableIterator<ExecutionResult> = {
    next: () => (push === null ? yieldNext() : pushAll(push)),
    return: () => end(source.return(undefined)),
    throw: (error) => end(source.throw(error)),
    [Symbol.asyncIterator]: () => results,
  };
  return results;
}

function answering(args: ExecutionArgs, recent: Answers): (event: object) => Answer {
  const asker = askerOf(args);
  return (event) => {
    let answers = recent.get(event);
    if (answers === undefined) {
      answers = new Map();
      // Once: who comes late does not make it last longer.
      recent.set(event, answers);
    }
    const shared = answers.get(asker) ?? answerAlone(args, { event });
    answers.set(asker, shared);
    return shared;
  };
}

function answerAlone(args: ExecutionArgs, rootValue: Delivery<object>): Answer {
  // Loaders of its own: each event reads the present, and keeps nothing.
  const contextValue = { ...(args.contextValue as Context), loaders: new Map() };
  const run = async () =>
    cleaned(await execute({ ...args, rootValue, contextValue }), contextValue);
  const answer: Answer = { making: run(), result: null, text: null };
  answer.making.then(
    (result) => {
      answer.result = result;
    },
    () => {},
  );
  return answer;
}

/**
 * Whether the event itself did not get through, as the database was away: the subscription ends, so
 * that who resumes begins with this event. Going on, it would be a gap that the next one hides.
 */
function isLost({ data, errors }: ExecutionResult): boolean {
  if (errors === undefined) return false;
  const isEmpty = Object.values(data ?? {}).every((field) => field === null);
  return isEmpty && errors.some(({ extensions }) => extensions.code === 'UNAVAILABLE');
}

/** What an answer depends on beside the event: arguments of the field itself only choose events. */
function askerOf({ document, operationName, variableValues, contextValue }: ExecutionArgs): string {
  const inAnswer = new Set<string>();
  const note = (part: ASTNode | undefined) =>
    part && visit(part, { Variable: ({ name }) => void inAnswer.add(name.value) });
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION) note(definition);
    else if (definition.operation === OperationTypeNode.SUBSCRIPTION) {
      for (const selection of definition.selectionSet.selections) {
        note(selection.kind === Kind.FIELD ? selection.selectionSet : selection);
      }
    }
  }
  const variables = Object.entries(variableValues ?? {}).filter(([name]) => inAnswer.has(name));
  const { viewer } = contextValue as Context;
  return JSON.stringify([viewer, operationName, document.loc?.source.body, variables]);
}
