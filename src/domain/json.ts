/** JSON that keeps every number to the digit. */

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | JsonValue[]
  | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

interface RawJson {
  readonly rawJSON: string;
}

// Not yet in TypeScript's library: https://tc39.es/proposal-json-parse-with-source/
const json = JSON as typeof JSON & {
  rawJSON(text: string): RawJson;
  isRawJSON(value: unknown): value is RawJson;
  parse(
    text: string,
    reviver?: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): JsonValue;
};

// A number can only lose digits when it has over 15 of them, on both sides of its point taken
// together, or an exponent. As one pattern with two branches it takes three times as long.
const MANY_DIGITS = /[\d.]{16}/;
const EXPONENT = /\d[eE]/;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Parses JSON text. A number that a double can't hold to the digit becomes a raw JSON object, which
 * JSON.stringify writes back as it came; `numberOf` gives its nearest double.
 *
 * @throws SyntaxError on text that is not JSON, RangeError when it is nested too deep
 */
export function parseJson(text: string): JsonValue {
  if (!MANY_DIGITS.test(text) && !EXPONENT.test(text)) return JSON.parse(text) as JsonValue;
  return json.parse(text, (_key: string, value: unknown, context: { source?: string }) =>
    typeof value === 'number' && context.source !== undefined && context.source !== String(value)
      ? json.rawJSON(context.source)
      : value,
  );
}

/** What a parser quotes of a text, without what Postgres can't store. */
export function printable(quoted: string): string {
  return quoted.replaceAll('\0', '\uFFFD').toWellFormed();
}

/** Whether JSON text is nested deeper than `levels`. Takes any text; costs some 2 ns a character. */
export function nestsDeeper(text: string, levels: number): boolean {
  // Every level has a bracket at either end.
  if (text.length <= 2 * levels) return false;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      do {
        i += text.charCodeAt(i) === BACKSLASH ? 2 : 1;
      } while (i < text.length && text.charCodeAt(i) !== QUOTE);
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > levels) return true;
    } else if (code === 0x5d || code === 0x7d) {
      depth--;
    }
  }
  return false;
}

/** The number a JSON value stands for, null when it is not a number. May be infinite. */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return value;
  return json.isRawJSON(value) ? Number(value.rawJSON) : null;
}

/** Whether a JSON value is a whole number as it was written, not as a double rounds it. */
export function isWholeNumber(value: unknown): boolean {
  if (!json.isRawJSON(value)) return Number.isInteger(value);
  const [, whole = '', fraction = '', exponent = '0'] =
    /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(value.rawJSON) ?? [];
  const digits = whole + fraction;
  let significant = digits.length;
  while (significant > 0 && digits[significant - 1] === '0') significant--;
  return significant === 0 || digits.length - significant >= fraction.length - Number(exponent);
}

/** An own-property object, which a raw number is not. */
export function isJsonObject(value: unknown): value is JsonObject {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !json.isRawJSON(value)
  );
}
