/** What has changed between the model that a database was made for and the one that is to run. */
import { INT32 } from './column-faults.ts';
import type { Column, Model } from './model.ts';

/** A model as far as tables, topics and stored rules hang on it. */
export type ModelRecord = Pick<
  Model,
  'table' | 'topic' | 'owner' | 'device' | 'sequence' | 'columns' | 'extraColumn' | 'shorthands'
>;

/** As it is read back from JSON. */
export function modelRecord(model: Model): ModelRecord {
  const { table, topic, owner, device, sequence, columns, extraColumn, shorthands } = model;
  const record = { table, topic, owner, device, sequence, columns, extraColumn, shorthands };
  return JSON.parse(JSON.stringify(record)) as ModelRecord;
}

/**
 * Each change that what is stored may not stand, as `columns.price.min: was 0, is 1: ...`. What only
 * adds to a model is none: a nullable column, a wider range, more values, a new shorthand.
 */
export function breakingChanges(before: ModelRecord, after: ModelRecord): string[] {
  return [
    ...PARTS.flatMap((part) => {
      const [was, is] = [JSON.stringify(before[part]), JSON.stringify(after[part])];
      return was === is ? [] : [`${part}: was ${was}, is ${is}: ${WHY[part]}`];
    }),
    ...columnChanges(before.columns, after.columns),
    ...shorthandChanges(before.shorthands, after.shorthands),
  ];
}

const PARTS = ['owner', 'device', 'sequence', 'topic', 'extraColumn'] as const;
const WHY = {
  owner: 'it identifies the stored readings',
  device: 'it identifies the stored readings',
  sequence: 'it identifies the stored readings',
  topic: 'messages in the log and rights in mqtt_acl are of the former',
  extraColumn: 'what was not declared is in the former',
};

function columnChanges(before: Model['columns'], after: Model['columns']): string[] {
  return Object.entries(before).flatMap(([name, was]) => {
    const is = after[name];
    const at = `columns.${name}`;
    if (is === undefined) return [`${at}: is gone: declare it, as stored readings have it`];
    if (is.type !== was.type) {
      return [`${at}.type: was "${was.type}", is "${is.type}": use another name for it`];
    }
    return narrowed(was, is).map((change) => `${at}${change}`);
  });
}

function narrowed(was: Column, is: Column): string[] {
  const changes: string[] = [];
  if (was.nullable && !is.nullable) {
    changes.push('.nullable: was true, is false: stored readings may lack it');
  }
  const limit = (name: string, from: number, to: number, isWider: boolean) => {
    if (isWider) return;
    const was = Number.isFinite(from) ? from : 'none';
    changes.push(`.${name}: was ${was}, is ${to}: stored readings may be beyond it`);
  };
  if (was.type === 'text' && is.type === 'text') {
    limit('maxLength', was.maxLength, is.maxLength, is.maxLength >= was.maxLength);
    const { values } = is;
    const lost = was.values?.filter((value) => values?.includes(value) === false) ?? [];
    if (was.values === undefined && values !== undefined) {
      changes.push('.values: there were none: stored readings may have others');
    } else if (lost.length > 0) {
      changes.push(`.values: lacks ${lost.join(', ')}: stored readings may have it`);
    }
  }
  if (isNumeric(was) && isNumeric(is)) {
    const [from, to] = [boundsOf(was), boundsOf(is)];
    limit('min', from.min, to.min, to.min <= from.min);
    limit('max', from.max, to.max, to.max >= from.max);
  }
  return changes;
}

type Numeric = Extract<Column, { min?: number }>;

function isNumeric(column: Column): column is Numeric {
  return column.type === 'double' || column.type === 'integer';
}

function boundsOf({ type, min, max }: Numeric): { min: number; max: number } {
  const open = type === 'integer' ? INT32 : { min: -Infinity, max: Infinity };
  return { min: min ?? open.min, max: max ?? open.max };
}

function shorthandChanges(before: Model['shorthands'], after: Model['shorthands']): string[] {
  return Object.entries(before).flatMap(([name, was]) => {
    const is = after[name];
    const at = `shorthands.${name}`;
    if (is === undefined) return [`${at}: is gone: declare it, as users may have set it`];
    return (['id', 'key', 'operator'] as const)
      .filter((part) => is[part] !== was[part])
      .map((part) => `${at}.${part}: was "${was[part]}", is "${is[part]}": name another shorthand`);
  });
}
