/**
 * The stream model: one description from which the table, the decoder, the COPY encoder, the
 * GraphQL fields, the MQTT topics and the rule keys follow, typed by inference. src/model.ts is the
 * default one; docs/models.md describes the format.
 */
import { INT32 } from './column-faults.ts';
import { faultsOf } from './model-faults.ts';
import type { GeoPoint } from './point.ts';
import type { Issue } from './rule.ts';
import { type ConfigPatch, parseConfig } from './rule-config.ts';

export interface DoubleColumn {
  type: 'double';
  nullable: boolean;
  min?: number;
  max?: number;
}
/** Of 32 bits. */
export interface IntegerColumn {
  type: 'integer';
  nullable: boolean;
  min?: number;
  max?: number;
}
export interface TextColumn {
  type: 'text';
  nullable: boolean;
  maxLength: number;
  /** All that it may be; left out: any text. */
  values?: readonly string[];
}
export interface BooleanColumn {
  type: 'boolean';
  nullable: boolean;
}
/** A place on the earth: latitude and longitude in degrees. */
export interface PointColumn {
  type: 'point';
  nullable: boolean;
}
export type Column = DoubleColumn | IntegerColumn | TextColumn | BooleanColumn | PointColumn;
export type Columns = Record<string, Column>;

type JsType<C extends Column> = C extends TextColumn
  ? string
  : C extends BooleanColumn
    ? boolean
    : C extends PointColumn
      ? GeoPoint
      : number;

/** The values of a reading's declared columns, as TypeScript sees them. */
export type ColumnValues<C extends Columns> = {
  [K in keyof C]: C[K]['nullable'] extends false ? JsType<C[K]> : JsType<C[K]> | null;
};

interface Shorthand<Key extends string = string> {
  id: string;
  key: Key;
  operator: '>' | '<';
}

export type Owner = { column: string } | { constant: string };

export interface ModelDefinition<C extends Columns> {
  /** Table of the readings. */
  table: string;
  /** MQTT topic of a reading, with the owner's and the device's column as `{column}`. */
  topic: string;
  /** To whom a reading belongs: a column, or one user for all. `user_id` where it is left out. */
  owner?: Owner;
  /** What sent it. `device_id` where it is left out. */
  device?: { column: string };
  /** Tells readings of one time apart. `sequence_id` where left out; null: a device has one a time. */
  sequence?: { column: string } | null;
  /** Declared value columns, beside time, owner, device and sequence. */
  columns: C;
  /** jsonb column that takes every field the model doesn't declare. */
  extraColumn: string;
  /** Config fields that stand for one rule each: `{ temperature_max: { key, operator, id } }`. */
  shorthands?: Record<string, Shorthand<keyof C & string>>;
  /** Rules of an owner who has had none yet, as a config has them: `{ key, operator, ... }`. */
  rules?: readonly Record<string, unknown>[];
}

/** A checked model. Any model is a `Model`, so nothing here takes a column's name as a type. */
export interface Model<C extends Columns = Columns> {
  readonly table: string;
  readonly topic: string;
  readonly owner: Owner;
  readonly device: { readonly column: string };
  readonly sequence: { readonly column: string } | null;
  readonly columns: C;
  readonly extraColumn: string;
  readonly shorthands: Readonly<Record<string, Shorthand>>;
  /** What an owner begins with: no rules for most. */
  readonly defaults: ConfigPatch;
  /** The columns that identify a reading, in order: the primary key. */
  readonly key: readonly string[];
  readonly columnNames: readonly string[];
}

/** What a model is made of; each with what stands there where it is left out. */
const DEFAULTS = {
  owner: { column: 'user_id' },
  device: { column: 'device_id' },
  sequence: { column: 'sequence_id' },
  shorthands: {},
} as const;

/** A model that can't be: all of its faults together, each with its field and what to write. */
export class ModelError extends Error {
  override name = 'ModelError';
  constructor(readonly issues: readonly Issue[]) {
    super(issues.map((issue) => `model: ${lineOf(issue)}`).join('\n'));
  }

  /** `columns.price.type must be one of ...`, and so on. */
  lines(): string[] {
    return this.issues.map(lineOf);
  }
}

function lineOf({ path, message }: Issue): string {
  return path === '' ? message : `${path} ${message}`;
}

/**
 * Checks a model once, at start. Takes what a file holds, whether it was type-checked or not.
 *
 * @throws ModelError
 */
export function defineModel<const C extends Columns>(definition: ModelDefinition<C>): Model<C> {
  const faults = faultsOf(definition);
  if (faults.length > 0) throw new ModelError(faults);
  const { rules = [], ...given } = definition;
  const { owner, device, sequence, ...rest } = { ...DEFAULTS, ...given };
  const columns = bounded(rest.columns);
  const key = [
    'time',
    ...('column' in owner ? [owner.column] : []),
    device.column,
    ...(sequence === null ? [] : [sequence.column]),
  ];
  const columnNames = Object.keys(columns);
  const model = {
    ...rest,
    owner,
    device,
    sequence,
    columns,
    key,
    columnNames,
    defaults: NO_CHANGE,
  };
  const checked = { ...model, defaults: defaultsOf(model, rules) };
  CHECKED.add(checked);
  return checked;
}

const CHECKED = new WeakSet<object>();

/** Whether a value came out of `defineModel`. */
export function isModel(value: unknown): value is Model {
  return typeof value === 'object' && value !== null && CHECKED.has(value);
}

/** An integer's bounds are those of its type where it names none. */
function bounded<C extends Columns>(columns: C): C {
  const entries = Object.entries(columns).map(([name, column]): [string, Column] => [
    name,
    column.type === 'integer' ? { ...INT32, ...column } : column,
  ]);
  return Object.fromEntries(entries) as C;
}

const NO_CHANGE: ConfigPatch = { shorthands: {} };

function defaultsOf(model: Model, rules: readonly unknown[]): ConfigPatch {
  if (rules.length === 0) return NO_CHANGE;
  const parsed = parseConfig({ rules } as never, model);
  const issues = parsed.ok ? undeclaredKeys(parsed.config, model) : parsed.issues;
  if (!parsed.ok || issues.length > 0) throw new ModelError(issues);
  return parsed.config;
}

/** In a user's rule that is a field of the rest; in the model's own it is a slip of the pen. */
function undeclaredKeys({ rules = [] }: ConfigPatch, { columns, columnNames }: Model): Issue[] {
  return rules.flatMap((rule, index) => {
    if (!('key' in rule) || rule.key.includes('.') || Object.hasOwn(columns, rule.key)) return [];
    const declared = columnNames.join(', ');
    const message = `"${rule.key}" is not declared: write a column (${declared}) or a dotted path`;
    return [{ path: `rules.${index}.key`, message }];
  });
}
