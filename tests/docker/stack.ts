import { join } from 'node:path';

/** The files of the compose stack, read as Compose and Bun read them. */

export const ROOT = join(import.meta.dirname, '..', '..');

export interface Service {
  image: string;
  build?: string;
  restart?: string;
  profiles?: string[];
  entrypoint?: string[];
  command?: string[];
  environment?: Record<string, string>;
  env_file?: string[];
  ports?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[]; interval: string; retries: number };
}

export interface Compose {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
}

export interface Interpolation {
  name: string;
  /** `:-` has a default, `:?` must have a value, null is plain. */
  operator: ':-' | ':?' | null;
}

const VARIABLE = /\$(?:(\$)|\{(\w+)(?:(:-|:\?)([^}]*))?\})/g;

export function readText(path: string): Promise<string> {
  return Bun.file(join(ROOT, path)).text();
}

/** .env.example with its ${...} expanded, by Bun's own reading of such files. */
export function exampleEnv(): Record<string, string> {
  const file = join(ROOT, '.env.example');
  const script = 'process.stdout.write(JSON.stringify(process.env))';
  const { stdout } = Bun.spawnSync([process.execPath, `--env-file=${file}`, '-e', script], {
    // Not the root of the repository, whose .env would be read too.
    cwd: import.meta.dirname,
    env: {},
  });
  return JSON.parse(stdout.toString());
}

/** Every variable that docker-compose.yml reads, comments aside. */
export async function interpolations(): Promise<Interpolation[]> {
  const text = JSON.stringify(Bun.YAML.parse(await readText('docker-compose.yml')));
  return [...text.matchAll(VARIABLE)].flatMap(([, , name, operator]) =>
    name === undefined ? [] : [{ name, operator: (operator ?? null) as Interpolation['operator'] }],
  );
}

/** docker-compose.yml with anchors and variables resolved. */
export async function readCompose(env: Record<string, string>): Promise<Compose> {
  const tree = Bun.YAML.parse(await readText('docker-compose.yml'));
  return interpolate(tree, env) as Compose;
}

function interpolate(value: unknown, env: Record<string, string>): unknown {
  if (typeof value === 'string') return interpolateText(value, env);
  if (Array.isArray(value)) return value.map((item) => interpolate(item, env));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, interpolate(item, env)]),
  );
}

function interpolateText(text: string, env: Record<string, string>): string {
  return text.replace(VARIABLE, (_, dollar, name, operator, operand) => {
    if (dollar !== undefined) return '$';
    const found = env[name];
    if (found) return found;
    if (operator === ':-') return operand;
    if (operator === ':?') throw new Error(`${name}: ${operand}`);
    return '';
  });
}

/** The value of `key = "..."` in emqx.conf that follows `after`. */
export function hoconValue(text: string, key: string, after = ''): string {
  const rest = text.slice(Math.max(0, text.indexOf(after)));
  const found = new RegExp(`^\\s*${key.replaceAll('.', '\\.')} = (?:"(.*)"|(\\S+))$`, 'm').exec(
    rest,
  );
  if (found === null) throw new Error(`emqx.conf has no ${key}`);
  return (found[1] ?? found[2]) as string;
}
