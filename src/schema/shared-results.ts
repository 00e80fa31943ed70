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
import type { Context } from './context.ts';
import { cleaned } from './errors.ts';
import { createRecent, type Recent } from './recent.ts';
import type { Delivery } from './subscription.ts';

type Result = Promise<ExecutionResult>;

/** As old as a result may be that another subscriber gets: `alert` is as it is now. */
const SHARED_MS = 500;

/**
 * A thousand apps that subscribe in the same words ask for the same answer to each event: it is
 * worked out once. Each still pulls at its own pace; who comes later than others gets one of their
 * own. Answers are shared by those who see alike: the same viewer, document and variables.
 */
export function sharedResults(): Plugin<Context> {
  const recent = createRecent<object, Map<string, Result>>(SHARED_MS);
  return {
    onSubscribe({ setSubscribeFn }) {
      setSubscribeFn((args: ExecutionArgs) => subscribe(args, recent));
    },
  };
}

async function subscribe(
  args: ExecutionArgs,
  recent: Recent<object, Map<string, Result>>,
): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
  const stream = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in stream)) return stream;
  const source = stream[Symbol.asyncIterator]() as AsyncGenerator<Delivery<object>>;
  const asker = askerOf(args);

  function answer(delivery: Delivery<object>): Result {
    const run = async () =>
      cleaned(await execute({ ...args, rootValue: delivery }), args.contextValue as Context);
    if ('error' in delivery) return run();
    let results = recent.get(delivery.event);
    if (results === undefined) {
      results = new Map();
      // Once: who comes late does not make it last longer.
      recent.set(delivery.event, results);
    }
    const shared = results.get(asker) ?? run();
    results.set(asker, shared);
    return shared;
  }

  let isCut = false;
  const mapped = async (
    next: Promise<IteratorResult<Delivery<object>>>,
  ): Promise<IteratorResult<ExecutionResult>> => {
    const { done, value } = await next;
    if (done) return { done, value };
    const result = await answer(value);
    isCut ||= isLost(result);
    return { done: false, value: result };
  };
  const results: AsyncIterableIterator<ExecutionResult> = {
    next: () => mapped(isCut ? source.return(undefined) : source.next()),
    return: () => mapped(source.return(undefined)),
    throw: (error) => mapped(source.throw(error)),
    [Symbol.asyncIterator]: () => results,
  };
  return results;
}

/**
 * Whether the event itself did not get through, as the database was away: the subscription ends, so
 * that who resumes begins with this event. Going on, it would be a gap that the next one hides.
 */
function isLost({ data, errors }: ExecutionResult): boolean {
  const isEmpty = Object.values(data ?? {}).every((field) => field === null);
  return isEmpty && (errors?.some(({ extensions }) => extensions.code === 'UNAVAILABLE') ?? false);
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
