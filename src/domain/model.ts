/**
 * The stream model: one description from which the table, the decoder, the COPY encoder, the
 * GraphQL fields and the rule keys follow, typed by inference. src/model.ts is the one in use.
 */

export interface DoubleColumn {
  type: 'double';
  nullable: boolean;
  min?: number;
  max?: number;
}
export interface IntegerColumn {
  type: 'integer';
  nullable: boolean;
  min: number;
  max: number;
}
export interface TextColumn {
  type: 'text';
  nullable: boolean;
  maxLength: number;
}
export interface BooleanColumn {
  type: 'boolean';
  nullable: boolean;
}
export type Column = DoubleColumn | IntegerColumn | TextColumn | BooleanColumn;
export type Columns = Record<string, Column>;

type JsType<C extends Column> = C extends TextColumn
  ? string
  : C extends BooleanColumn
    ? boolean
    : number;

/** The values of a reading's declared columns, as TypeScript sees them. */
export type ColumnValues<C extends Columns> = {
  [K in keyof C]: C[K]['nullable'] extends false ? JsType<C[K]> : JsType<C[K]> | null;
};

export interface ModelDefinition<C extends Columns> {
  /** Table of the readings. */
  table: string;
  /** MQTT topic of a reading, with {user_id} and {device_id}. */
  topic: string;
  /** Declared value columns, beside time, user_id, device_id and sequence_id. */
  columns: C;
  /** jsonb column that takes every field the model doesn't declare. */
  extraColumn: string;
  /** Config fields that stand for one rule each: `{ temperature_max: { key, operator, id } }`. */
  shorthands: Record<string, { id: string; key: keyof C & string; operator: '>' | '<' }>;
}

/** A checked model. Any model is a `Model`, so nothing here takes a column's name as a type. */
export interface Model<C extends Columns = Columns> extends Omit<ModelDefinition<C>, 'shorthands'> {
  shorthands: Record<string, { id: string; key: string; operator: '>' | '<' }>;
  /** The primary key, in order; the time column first, as TimescaleDB needs it in there. */
  key: readonly ['time', 'user_id', 'device_id', 'sequence_id'];
  columnNames: readonly string[];
}

/** What every model has; a declared column may not take one of these names. */
export const KEY_COLUMNS = ['time', 'user_id', 'device_id', 'sequence_id'] as const;

const IDENTIFIER = /^[a-z][a-z0-9_]{0,62}$/;

/**
 * Checks a model once, at start.
 *
 * @throws Error that names the model's first fault and how to mend it
 */
export function defineModel<const C extends Columns>(definition: ModelDefinition<C>): Model<C> {
  const columnNames = Object.keys(definition.columns) as (keyof C & string)[];
  for (const name of [definition.table, definition.extraColumn, ...columnNames]) {
    if (!IDENTIFIER.test(name)) {
      throw new Error(`model: "${name}" is not a lower-case SQL identifier`);
    }
  }
  for (const name of [...KEY_COLUMNS, definition.extraColumn]) {
    if (columnNames.includes(name)) {
      throw new Error(`model: column "${name}" is taken; choose another name`);
    }
  }
  for (const placeholder of ['{user_id}', '{device_id}']) {
    if (!definition.topic.split('/').includes(placeholder)) {
      throw new Error(`model: topic "${definition.topic}" has no level ${placeholder}`);
    }
  }
  for (const [name, { key }] of Object.entries(definition.shorthands)) {
    if (!columnNames.includes(key)) {
      throw new Error(`model: shorthand "${name}" names the undeclared column "${key}"`);
    }
  }
  return { ...definition, key: KEY_COLUMNS, columnNames };
}
