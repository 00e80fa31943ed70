import { graphql } from 'graphql';
import { model } from '../../src/model.ts';
import type { Viewer } from '../../src/schema/context.ts';
import { createContext } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import type { ServerOptions } from '../../src/schema/server.ts';
import { type EngineStage, engineStage } from '../engine/engine-stage.ts';
import { type Answer, type Stage, stage } from './support.ts';

/** The server with a log behind it, and engines to be started on both. */
export interface LogStage {
  on: Stage;
  engines: EngineStage;
  as(viewer: Viewer, source: string, variables?: Record<string, unknown>): Promise<Answer>;
  close(): Promise<void>;
}

export async function logStage(
  options: Partial<ServerOptions> & { partitions?: number } = {},
): Promise<LogStage> {
  const { partitions, ...server } = options;
  let engines: EngineStage;
  const appender: ServerOptions['appender'] = { append: (message) => engines.log.append(message) };
  const on = await stage({ appender, ...server });
  const database = { url: on.url, sql: on.sql, drop: async () => {} };
  engines = await engineStage({ database, partitions });
  const schema = createSchema(model);
  return {
    on,
    engines,
    async as(viewer, source, variableValues) {
      const contextValue = createContext({ ...on.deps, appender, ...server }, viewer);
      const result = await graphql({ schema, source, contextValue, variableValues });
      return JSON.parse(JSON.stringify(result)) as Answer;
    },
    async close() {
      await engines.close();
      await on.close();
    },
  };
}
