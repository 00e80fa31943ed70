import { InvalidArgumentError } from 'commander';
import { OPERATORS, type Operator, SEVERITIES } from '../domain/rule.ts';
import type { RuleInput } from './rule-queries.ts';

/** Readers of one option's value; what they throw, commander shows with the option's name. */

/** A CSV column and the payload field it becomes, dotted where that is nested. */
export interface ColumnMapping {
  column: string;
  field: string;
}

export function integer(low: number, high: number) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= low && value <= high)
      return value;
    throw new InvalidArgumentError(`Write a whole number from ${low} to ${high}.`);
  };
}

export function positive(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Write a number above 0.');
}

export function rate(text: string): number {
  return text === 'max' ? Number.POSITIVE_INFINITY : positive(text);
}

export function httpUrl(text: string): string {
  if (/^https?:$/.test(URL.parse(text)?.protocol ?? '')) return text;
  throw new InvalidArgumentError('Write http://host:port/graphql.');
}

export function mqttUrl(text: string): string {
  if (/^(mqtts?|wss?|tcp|ssl):$/.test(URL.parse(text)?.protocol ?? '')) return text;
  throw new InvalidArgumentError('Write mqtt://host:port.');
}

export function name(text: string): string {
  if (text !== '' && !/[/+#\s]/.test(text)) return text;
  throw new InvalidArgumentError('It is a level of an MQTT topic: no / + # or blanks.');
}

export function mapping(text: string, before: ColumnMapping[] = []): ColumnMapping[] {
  const cut = text.lastIndexOf('=');
  const column = text.slice(0, cut);
  const field = text.slice(cut + 1);
  if (cut < 1 || field.split('.').includes('')) {
    throw new InvalidArgumentError('Write CSVCOLUMN=FIELD, for instance value=temperature.');
  }
  return [...before, { column, field }];
}

const RULE = /^\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*(\S+)(?:\s+([A-Z]+))?(?:\s+"([^"]*)")?\s*$/;

export function rule(text: string, before: RuleInput[] = []): RuleInput[] {
  const [, key, operator, number, severity = 'WARNING', message] = RULE.exec(text) ?? [];
  const threshold = Number(number);
  const known = (SEVERITIES as readonly string[]).includes(severity);
  if (!key || !OPERATORS.includes(operator as Operator) || !Number.isFinite(threshold) || !known) {
    throw new InvalidArgumentError(
      'Write for instance \'temperature < 20 CRITICAL "Machine is cold"\'.',
    );
  }
  return [
    ...before,
    {
      key,
      operator: operator as Operator,
      threshold,
      severity,
      message: message ?? `${key} ${operator} ${number}`,
    },
  ];
}
