/** The faults of a model's description, found before anything is made of it. */
import { columnFaults, type Fields, identifier, isFields, type Names } from './column-faults.ts';
import { kindOf, not, oneOf, type Report, reportUnknown, text } from './fields.ts';
import { CONFIG_FIELDS, fieldName, GENERIC, TABLES } from './model-names.ts';
import type { Issue } from './rule.ts';
import { isRuleId } from './rule-fields.ts';
import { isTopicName, patternLevels, USER_TOPICS } from './topic.ts';

const MODEL_FIELDS = [
  'table',
  'topic',
  'owner',
  'device',
  'sequence',
  'columns',
  'extraColumn',
  'shorthands',
  'rules',
];
/** As long as a user's name in a topic may be. */
const MAX_OWNER_LENGTH = 85;

/** Every fault of what a model file holds, which may be any value at all. */
export function faultsOf(definition: unknown): Issue[] {
  const issues: Issue[] = [];
  const report: Report = (path, message) => issues.push({ path, message });
  if (!isFields(definition)) {
    report('', `must be an object such as { table: 'ticks', ... }, ${not(definition)}`);
    return issues;
  }
  reportUnknown(definition, MODEL_FIELDS, '', report);
  const names = keyNames(definition, report);
  checkTable(definition.table, report);
  checkTopic(definition.topic, names, report);
  columnFaults(definition, names, report);
  checkShorthands(definition, report);
  const { rules } = definition;
  if (rules !== undefined && !Array.isArray(rules)) {
    report('rules', `must be a list of rules, ${not(rules)}`);
  }
  return issues;
}

function keyNames({ owner, device, sequence }: Fields, report: Report): Names {
  const names = {
    owner: isConstant(owner, report) ? null : named(owner, 'owner', GENERIC[1], report),
    device: named(device, 'device', GENERIC[2], report),
    sequence: sequence === null ? null : named(sequence, 'sequence', GENERIC[3], report),
  };
  const seen = new Set(['time']);
  for (const [part, name] of Object.entries(names)) {
    if (name === null) continue;
    const others = GENERIC.filter((generic) => generic !== GENERIC_OF[part]);
    if (seen.has(name) || others.includes(name)) {
      report(`${part}.column`, `"${name}" is taken; choose another name`);
    }
    seen.add(name);
  }
  return names;
}

const GENERIC_OF: Record<string, string | undefined> = {
  owner: GENERIC[1],
  device: GENERIC[2],
  sequence: GENERIC[3],
};

function isConstant(owner: unknown, report: Report): boolean {
  if (!isFields(owner) || !('constant' in owner)) return false;
  reportUnknown(owner, ['constant'], 'owner', report);
  const name = text(owner.constant, 'owner.constant', MAX_OWNER_LENGTH, report);
  if (name !== '' && !isTopicName(name)) {
    report('owner.constant', `"${name}" is a user in topics: leave out / + and #`);
  }
  return true;
}

/** The column of a part of the key. */
function named(value: unknown, part: string, fallback = '', report: Report): string {
  if (value === undefined) return fallback;
  if (!isFields(value)) {
    const or = { owner: ` or { constant: 'market' }`, sequence: ' or null' }[part] ?? '';
    report(part, `must be { column: '${fallback}' }${or}, ${not(value)}`);
    return fallback;
  }
  reportUnknown(value, ['column'], part, report);
  return identifier(value.column, `${part}.column`, report) ? value.column : fallback;
}

function checkTable(table: unknown, report: Report): void {
  if (!identifier(table, 'table', report)) return;
  if (TABLES.includes(table) || table.startsWith('pg_')) {
    report('table', `"${table}" is taken by Pulsegraph or Postgres; choose another name`);
  }
}

function checkTopic(topic: unknown, { owner, device }: Names, report: Report): void {
  const pattern = text(topic, 'topic', 1_000, report);
  if (pattern === '') return;
  const fault = (message: string) => report('topic', `"${pattern}": ${message}`);
  const wanted = owner === null ? [device] : [owner, device];
  const levels = patternLevels(pattern);
  for (const name of wanted) {
    const count = levels.filter((level) => level.name === name).length;
    if (count !== 1) fault(`write {${name}} as a level of it, once`);
  }
  for (const { literal, name } of levels) {
    if (name === null) {
      const isFit = isTopicName(literal) && !/[{}]/.test(literal);
      if (!isFit) fault(`"${literal}" can't be a level of it`);
    } else if (!wanted.includes(name)) {
      fault(
        `{${name}} is neither owner nor device; write ${wanted.map((one) => `{${one}}`).join(' and ')}`,
      );
    }
  }
  if (pattern.startsWith('$')) fault('begins with $, as topics of a broker itself do');
  if (levels.every(({ name }) => name !== null)) fault('give it a level of its own, such as ticks');
  const other = USER_TOPICS.find((filter) => overlap(levels, filter.split('/')));
  if (other !== undefined) fault(`takes in ${other}, which is for users; choose another`);
}

/** Whether some topic is of both. */
function overlap(levels: ReturnType<typeof patternLevels>, filter: readonly string[]): boolean {
  if (levels.length !== filter.length) return false;
  return levels.every(
    ({ literal, name }, i) => name !== null || filter[i] === '+' || filter[i] === literal,
  );
}

function checkShorthands({ shorthands = {}, columns }: Fields, report: Report): void {
  if (!isFields(shorthands)) {
    const example = '{ price_min: { id, key, operator } }';
    report('shorthands', `must be an object such as ${example}, ${not(shorthands)}`);
    return;
  }
  const ids = new Map<string, string>();
  const fields = new Set(CONFIG_FIELDS.map(fieldName));
  for (const [name, shorthand] of Object.entries(shorthands)) {
    const path = `shorthands.${name}`;
    if (!identifier(name, path, report)) continue;
    const field = fieldName(name);
    if (fields.has(field)) report(path, `"${field}" is taken; choose another name`);
    fields.add(field);
    if (!isFields(shorthand)) {
      report(path, `must be an object such as { id, key, operator: '>' }, ${not(shorthand)}`);
      continue;
    }
    reportUnknown(shorthand, ['id', 'key', 'operator'], path, report);
    oneOf(shorthand.operator, ['>', '<'], `${path}.operator`, report);
    checkId(shorthand.id, { path, ids }, report);
    checkKey(shorthand.key, columns, `${path}.key`, report);
  }
}

function checkId(
  id: unknown,
  { path, ids }: { path: string; ids: Map<string, string> },
  report: Report,
): void {
  if (typeof id !== 'string' || !isRuleId(id)) {
    report(`${path}.id`, `must be 1 to 64 of the characters A-Z a-z 0-9 _ . : -, ${not(id)}`);
    return;
  }
  const first = ids.get(id);
  if (first !== undefined) report(`${path}.id`, `"${id}" is the id of ${first} too`);
  ids.set(id, path);
}

/** A shorthand's rule compares with a number. */
function checkKey(key: unknown, columns: unknown, path: string, report: Report): void {
  const declared = isFields(columns) ? columns : {};
  if (typeof key !== 'string' || !Object.hasOwn(declared, key)) {
    const known = Object.keys(declared).join(', ');
    report(path, `must be a declared column (${known}), ${not(key)}`);
    return;
  }
  const column = declared[key];
  if (!isFields(column) || (column.type !== 'double' && column.type !== 'integer')) {
    report(path, `must be a column of numbers, which ${kindOf(key)} is not`);
  }
}
