/** The model that this process runs: the file of MODEL, else src/model.ts. Read here alone. */
import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isModel, type Model, ModelError } from './domain/model.ts';
import { StartError } from './domain/start-error.ts';

/**
 * @param config.model a path, from the working directory; null for the default model
 * @throws StartError that names the file, each faulty field of it, and what to do
 */
export async function loadModel(config: { model: string | null }): Promise<Model> {
  const path = config.model ?? join(import.meta.dir, 'model.ts');
  const file = isAbsolute(path) ? path : resolve(path);
  const fault = (said: string, cause?: unknown) =>
    new StartError('MODEL_UNUSABLE', `MODEL: ${path} ${said}`, { cause });
  if (!existsSync(file)) {
    throw fault('is not there: write the path of a model file, from the folder of the start');
  }
  let exported: Record<string, unknown>;
  try {
    exported = await import(pathToFileURL(file).href);
  } catch (error) {
    if (error instanceof ModelError) {
      const lines = error.lines().map((line) => `  ${line}`);
      throw fault(`is no model that can be run; correct it:\n${lines.join('\n')}`, error);
    }
    throw fault(`can't be loaded (${messageOf(error)}): correct it`, error);
  }
  if (isModel(exported.model)) return exported.model;
  const fix = "write `export const model = defineModel({ table: 'ticks', ... })`";
  throw fault(
    'model' in exported
      ? `has a model not made by defineModel: ${fix}`
      : `exports no model: ${fix}`,
  );
}

function messageOf(error: unknown): string {
  const { errors } = error as { errors?: unknown };
  // Of a file that doesn't compile, each fault of it.
  if (Array.isArray(errors) && errors.length > 0)
    return errors.map((one) => (one as Error).message ?? String(one)).join('; ');
  return error instanceof Error ? error.message : String(error);
}
