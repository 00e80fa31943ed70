import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { formatMicros, parseRfc3339 } from '../../src/domain/time.ts';

/** 0001-01-01 to the year 2255, in which a double holds every microsecond. */
const micros = fc.integer({ min: -62_135_596_800_000_000, max: Number.MAX_SAFE_INTEGER });
const ms = micros.map((value) => Math.floor(value / 1_000));

describe('formatMicros and parseRfc3339', () => {
  test('are each other reversed, to the microsecond', () => {
    fc.assert(fc.property(micros, (time) => parseRfc3339(formatMicros(time)) === time));
  });

  test('agree with Date on whole milliseconds', () => {
    fc.assert(
      fc.property(ms, (time) => {
        const text = new Date(time).toISOString();
        expect(parseRfc3339(text)).toBe(time * 1_000);
        expect(formatMicros(time * 1_000)).toBe(text);
      }),
    );
  });

  test('read any number of fraction digits, and no text that is one character off', () => {
    const text = fc.tuple(micros, fc.integer({ min: 0, max: 9 })).map(([time, digits]) => {
      const [head = ''] = formatMicros(Math.abs(time)).split('.');
      const fraction = '123456789'.slice(0, digits);
      return { head, fraction, text: `${head}${digits > 0 ? `.${fraction}` : ''}Z` };
    });
    fc.assert(
      fc.property(text, ({ head, fraction, text }) => {
        const seconds = Date.parse(`${head}Z`) * 1_000;
        expect(parseRfc3339(text)).toBe(seconds + Number(fraction.slice(0, 6).padEnd(6, '0')));
      }),
    );
    fc.assert(
      fc.property(text, fc.nat(), fc.constantFrom('x', ':', ' ', '/'), ({ text }, at, other) => {
        const index = at % text.length;
        const changed = text.slice(0, index) + other + text.slice(index + 1);
        const stillOne = changed === text || (index === 10 && other === ' ');
        expect(parseRfc3339(changed) === null).toBe(!stillOne);
      }),
    );
  });

  test('keep the order of distinct times', () => {
    fc.assert(
      fc.property(micros, (time) => {
        const next = Math.min(time + 1, Number.MAX_SAFE_INTEGER);
        if (time < 0 && next === 0) return;
        expect(parseRfc3339(formatMicros(next))).toBe(next);
        expect(formatMicros(next) === formatMicros(time)).toBe(next === time);
      }),
    );
  });
});

describe('parseRfc3339', () => {
  test('takes the offset off, whatever it is', () => {
    const offset = fc.tuple(
      fc.constantFrom('+', '-'),
      fc.integer({ min: 0, max: 23 }),
      fc.integer({ min: 0, max: 59 }),
    );
    fc.assert(
      fc.property(ms, offset, (time, [sign, hours, minutes]) => {
        const zone = `${sign}${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}`;
        const text = new Date(time).toISOString().replace('Z', zone);
        const shift = (sign === '-' ? -1 : 1) * (hours * 60 + minutes) * 60_000_000;
        expect(parseRfc3339(text)).toBe(time * 1_000 - shift);
      }),
    );
  });

  test('never throws, and gives an integer or null', () => {
    const likeOne = fc
      .array(fc.constantFrom(...'0123456789-:TtZz+. '.split('')), { maxLength: 40 })
      .map((characters) => characters.join(''));
    fc.assert(
      fc.property(fc.oneof(fc.string(), likeOne), (text) => {
        const time = parseRfc3339(text);
        expect(time === null || Number.isInteger(time)).toBe(true);
      }),
    );
  });

  const at = (text: string) => Date.parse(text) * 1_000;
  test.each([
    ['2024-02-29T00:00:00Z', at('2024-02-29T00:00:00Z')],
    ['2000-02-29t23:59:59z', at('2000-02-29T23:59:59Z')],
    ['2014-01-07 02:55:00+00:00', at('2014-01-07T02:55:00Z')],
    ['2016-12-31T23:59:60Z', at('2017-01-01T00:00:00Z')],
    ['2016-12-31T23:59:60.5Z', at('2017-01-01T00:00:00.500Z')],
    ['2024-01-01T00:00:00.1Z', at('2024-01-01T00:00:00.100Z')],
    ['2024-01-01T00:00:00.000001Z', at('2024-01-01T00:00:00Z') + 1],
    // Cut, not rounded.
    ['2024-01-01T00:00:00.999999999Z', at('2024-01-01T00:00:00Z') + 999_999],
    [`2024-01-01T00:00:00.${'9'.repeat(40)}Z`, at('2024-01-01T00:00:00Z') + 999_999],
    ['2024-01-01T00:00:00-00:00', at('2024-01-01T00:00:00Z')],
    ['0099-01-01T00:00:00Z', at('0099-01-01T00:00:00Z')],
  ])('reads %s', (text, time) => {
    expect(parseRfc3339(text)).toBe(time);
  });

  test.each([
    '2023-02-29T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2024-04-31T00:00:00Z',
    '2024-13-01T00:00:00Z',
    '2024-00-01T00:00:00Z',
    '2024-01-00T00:00:00Z',
    '2024-01-01T24:00:00Z',
    '2024-01-01T00:60:00Z',
    '2024-01-01T00:00:61Z',
    '2024-01-01T00:00:00',
    '2024-01-01',
    '2024-01-01T00:00:00+24:00',
    '2024-01-01T00:00:00+00:60',
    '2024-01-01T00:00:00+0000',
    '2024-01-01T00:00:00.Z',
    ' 2024-01-01T00:00:00Z',
    '2024-01-01T00:00:00Z\n',
    '２０２４-01-01T00:00:00Z',
    '',
  ])('refuses %j', (text) => {
    expect(parseRfc3339(text)).toBeNull();
  });
});
