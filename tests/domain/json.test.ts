import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { isJsonObject, isWholeNumber, numberOf, parseJson } from '../../src/domain/json.ts';

/** A JSON number of any length, as text. */
export const numberText = fc
  .tuple(
    fc.boolean(),
    fc.oneof(
      fc.constant('0'),
      fc.stringMatching(/^[1-9]\d{0,40}$/),
      fc.bigInt({ min: 2n ** 53n - 3n, max: 2n ** 53n + 3n }).map(String),
    ),
    fc.option(fc.stringMatching(/^\d{1,30}$/), { nil: null }),
    fc.option(fc.stringMatching(/^[eE][+-]?\d{1,4}$/), { nil: null }),
  )
  .map(([minus, whole, fraction, exponent]) =>
    [minus ? '-' : '', whole, fraction === null ? '' : `.${fraction}`, exponent ?? ''].join(''),
  );

/** A decimal as its digits without zeros at either end and the power of ten of the last one. */
function decimal(text: string): string {
  const m = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (!m) throw new Error(`not a number: ${text}`);
  const [, minus, whole = '', fraction = '', exponent = '0'] = m;
  const digits = (whole + fraction).replace(/^0+/, '');
  const short = digits.replace(/0+$/, '');
  if (short === '') return '0';
  const power = Number(exponent) - fraction.length + (digits.length - short.length);
  return `${minus}${short}e${power}`;
}

describe('parseJson', () => {
  test('keeps every number to the digit', () => {
    fc.assert(
      fc.property(numberText, (text) => {
        expect(decimal(JSON.stringify(parseJson(text)))).toBe(decimal(text));
        const nested = JSON.stringify(parseJson(`{"a":[${text},{"b":${text}}],"c":1}`));
        expect(nested.endsWith('}],"c":1}')).toBe(true);
        expect(decimal(nested.slice('{"a":['.length).split(',')[0] as string)).toBe(decimal(text));
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    '9007199254740993',
    '1234567890.12345678',
    '123456789012.3456789',
    '0.1000000000000000055511151231257827',
    '1e999',
    '-1E-999',
    '12345678901234567890',
  ])('keeps %s as it came', (text) => {
    expect(JSON.stringify(parseJson(`{"x":${text}}`))).toBe(`{"x":${text}}`);
    expect(numberOf((parseJson(`{"x":${text}}`) as { x: unknown }).x)).toBe(Number(text));
  });

  test('is JSON.parse for everything that a double holds', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (text) => {
        // Through JSON.stringify: a raw number such as 1e21 is an object of its own.
        expect(JSON.stringify(JSON.parse(JSON.stringify(parseJson(text))))).toBe(
          JSON.stringify(JSON.parse(text)),
        );
      }),
    );
  });

  test('throws nothing but SyntaxError and RangeError', () => {
    const digits = fc.stringMatching(/^[[\]{}:,"0-9eE.+-]{0,40}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), digits), (text) => {
        try {
          parseJson(text);
        } catch (error) {
          expect(error instanceof SyntaxError || error instanceof RangeError).toBe(true);
        }
      }),
    );
    for (const deep of ['[', '{"a":', '[1e5,']) {
      expect(() => parseJson(deep.repeat(100_000))).toThrow();
    }
    // Without a long number in it the parser takes any depth; JSON.stringify does not.
    const nested = `${'['.repeat(100_000)}1e5${']'.repeat(100_000)}`;
    expect(() => parseJson(nested)).toThrow(RangeError);
  });

  test('keeps __proto__ and constructor as fields of their own', () => {
    const text = '{"__proto__":{"polluted":12345678901234567890},"constructor":1}';
    const value = parseJson(text) as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor']);
    expect(JSON.stringify(value)).toBe(text);
    expect((value as { polluted?: unknown }).polluted).toBeUndefined();
  });

  test('a later field of the same name wins, whichever of them is long', () => {
    expect(JSON.stringify(parseJson('{"a":12345678901234567890,"a":1}'))).toBe('{"a":1}');
    expect(JSON.stringify(parseJson('{"a":1,"a":12345678901234567890}'))).toBe(
      '{"a":12345678901234567890}',
    );
  });
});

test('a raw number is a number and no object', () => {
  const raw = parseJson('12345678901234567890');
  expect(isJsonObject(raw)).toBe(false);
  expect(numberOf(raw)).toBe(Number('12345678901234567890'));
  expect([null, '1', true, {}, [], undefined].map(numberOf)).toEqual(Array(6).fill(null));
});

test('a whole number is one as it is written, whatever a double makes of it', () => {
  fc.assert(
    fc.property(numberText, (text) => {
      const power = Number(/e(-?\d+)$/.exec(decimal(text))?.[1] ?? 0);
      expect(isWholeNumber(parseJson(text))).toBe(power >= 0);
    }),
  );
  for (const value of ['1', true, null, {}, []]) expect(isWholeNumber(value)).toBe(false);
  const long = parseJson(`1${'0'.repeat(60_000)}1e-1`);
  const since = performance.now();
  expect(isWholeNumber(long)).toBe(false);
  expect(performance.now() - since).toBeLessThan(100);
});
