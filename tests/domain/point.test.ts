import { describe, expect, test } from 'bun:test';
import { NO_MEMORY } from '../../src/domain/alert.ts';
import { onlyRule } from '../../src/domain/backtest.ts';
import { type JsonValue, parseJson } from '../../src/domain/json.ts';
import { defineModel } from '../../src/domain/model.ts';
import { type GeoPoint, pointKey, readPoint } from '../../src/domain/point.ts';
import { type Reading, valueAt } from '../../src/domain/reading.ts';
import { evaluate } from '../../src/domain/reducer.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { createDecoder } from '../../src/engine/decode.ts';

const model = defineModel({
  table: 'parcels',
  topic: 'users/{user_id}/devices/{device_id}/telemetry',
  extraColumn: 'extra_data',
  columns: {
    location: { type: 'point', nullable: false },
    status: { type: 'text', nullable: true, maxLength: 20, values: ['CREATED', 'DELAYED'] },
    weight: { type: 'double', nullable: true },
  },
});
const BERLIN = { latitude: 52.52, longitude: 13.405 };

describe('a point as it is sent', () => {
  test.each([
    '{"latitude":52.52,"longitude":13.405}',
    '{"lon":13.405,"lat":52.52}',
    '{"type":"Point","coordinates":[13.405,52.52]}',
    '{"coordinates":[13.40500000000000000,5.252e1],"type":"Point"}',
  ])('%s', (text) => {
    expect(readPoint(parseJson(text))).toEqual({ ok: true, point: BERLIN });
  });

  test.each([
    ['{"lat":90,"lon":-180}', { latitude: 90, longitude: -180 }],
    ['{"lat":-90,"lon":180}', { latitude: -90, longitude: 180 }],
    ['{"lat":-0.0,"lon":-0}', { latitude: 0, longitude: 0 }],
  ])('at the edge: %s', (text, point) => {
    expect(readPoint(parseJson(text))).toEqual({ ok: true, point });
  });

  test.each([
    ['{"lat":90.000001,"lon":0}', 'OUT_OF_RANGE', 'latitude of 90.000001'],
    ['{"lat":0,"lon":-180.5}', 'OUT_OF_RANGE', 'longitude of -180.5'],
    ['{"type":"Point","coordinates":[52.5,113.4]}', 'OUT_OF_RANGE', 'latitude of 113.4'],
    ['{"lat":1e999,"lon":0}', 'OUT_OF_RANGE', 'latitude'],
    ['{"lat":"52.5","lon":13}', 'WRONG_TYPE', '"latitude"'],
    ['{"lat":52.5}', 'WRONG_TYPE', '"latitude"'],
    ['{"lat":52.5,"longitude":13}', 'WRONG_TYPE', '"latitude"'],
    ['{"lat":52.5,"lon":13,"altitude":34}', 'WRONG_TYPE', 'nothing else'],
    ['{"type":"Point","coordinates":[13,52,34]}', 'WRONG_TYPE', '[longitude, latitude]'],
    ['{"type":"LineString","coordinates":[13,52]}', 'WRONG_TYPE', '"Point"'],
    ['[13,52]', 'WRONG_TYPE', '"latitude"'],
    ['"52,13"', 'WRONG_TYPE', '"latitude"'],
    ['7', 'WRONG_TYPE', '"latitude"'],
    ['{"__proto__":{"lat":1},"lon":2}', 'WRONG_TYPE', '"latitude"'],
  ])('refused: %s', (text, reason, said) => {
    const read = readPoint(parseJson(text));
    expect(read).toMatchObject({ ok: false, reason });
    expect(read.ok ? '' : read.detail).toContain(said);
  });
});

function decoded(fields: Record<string, JsonValue>) {
  const payload = { time: '2024-05-01T00:00:00Z', sequence_id: 1, ...fields };
  const value = new TextEncoder().encode(JSON.stringify(payload));
  const topic = 'users/ann/devices/van/telemetry';
  const arrivalMs = Date.UTC(2024, 4, 2);
  const decode = createDecoder(model, { maxPayloadBytes: 10_000 });
  return decode({ offset: 0, arrivalMs, key: null, topic, value });
}

test('a decoded reading holds the point, and a dead letter says what was wrong with it', () => {
  const good = decoded({ location: { lat: 52.52, lon: 13.405 }, status: 'DELAYED' });
  expect(good).toMatchObject({ ok: true, reading: { columns: { location: BERLIN } } });
  expect(decoded({})).toMatchObject({ rejection: { reason: 'MISSING_FIELD' } });
  const bad = decoded({ location: { lat: 152.52, lon: 13.405 } });
  expect(bad).toMatchObject({
    rejection: {
      reason: 'OUT_OF_RANGE',
      detail:
        'location: {"lat":152.52,"lon":13.405} has a latitude of 152.52, which is not from -90 to 90',
    },
  });
});

test('a text that is none of the values is a dead letter that lists them', () => {
  expect(decoded({ location: { lat: 1, lon: 1 }, status: null }).ok).toBe(true);
  const { rejection } = decoded({ location: { lat: 1, lon: 1 }, status: 'delayed' }) as never;
  expect(rejection as object).toEqual({
    reason: 'OUT_OF_RANGE',
    detail: 'status: "delayed" is not one of CREATED, DELAYED',
  });
});

function readingOf(columns: Reading['columns'], extra: Reading['extra'] = null): Reading {
  return { time: 1e15, userId: 'ann', deviceId: 'van', sequenceId: 1, columns, extra };
}

test('a key names a number of the point', () => {
  const at = (point: GeoPoint | null, key: string, extra: Reading['extra'] = null) =>
    valueAt(readingOf({ location: point, weight: 3 }, extra), key);
  expect(at(BERLIN, 'location.latitude')).toBe(52.52);
  expect(at(BERLIN, 'location.longitude')).toBe(13.405);
  expect(at(null, 'location.latitude')).toBeUndefined();
  // What the table's column decides, no field of the payload decides.
  expect(at(null, 'location.latitude', { 'location.latitude': 7 })).toBeUndefined();
  expect(at(BERLIN, 'weight.latitude')).toBeUndefined();
  expect(at(BERLIN, 'home.latitude', { home: { latitude: 7 } })).toBe(7);
  expect(pointKey(model.columns, 'location.latitude')).toEqual({
    column: 'location',
    part: 'latitude',
  });
  for (const key of ['location', 'location.lat', 'location.latitude.x', 'weight.latitude', 'x.y']) {
    expect(pointKey(model.columns, key)).toBeNull();
  }
});

function ruleOn(fields: object) {
  const rule = { operator: '>', threshold: 50, message: 'm', ...fields };
  return parseConfig({ rules: [rule] } as never, model);
}

test('a rule on a number of the point fires', () => {
  const parsed = ruleOn({ key: 'location.latitude' });
  const [draft] = (parsed.ok && parsed.config.rules) || [];
  if (draft === undefined) throw new Error('no rule');
  const ruleSet = onlyRule(draft, 'ann', model);
  const evidence = { partition: 0, offset: 0, arrival: 1e15 };
  const judged = (latitude: number) =>
    evaluate(NO_MEMORY, readingOf({ location: { ...BERLIN, latitude } }), ruleSet, evidence);
  expect(judged(50.5).transitions).toMatchObject([{ type: 'FIRED', value: 50.5 }]);
  expect(judged(50).transitions).toEqual([]);
});

test.each([
  [{ key: 'location' }, 'rules.0.key', '"location" is a point; write location.latitude or'],
  [{ key: 'location.lat' }, 'rules.0.key', 'location.latitude or location.longitude'],
  [
    { key: 'location.latitude', operator: '==', threshold: 'north' },
    'rules.0.threshold',
    'must be a number, as "location.latitude" is',
  ],
  [
    { key: 'status', operator: '==', threshold: 'DELAYD' },
    'rules.0.threshold',
    '"status" is never "DELAYD"; it is one of CREATED, DELAYED',
  ],
  [
    { key: 'status', operator: '!=', threshold: '' },
    'rules.0.threshold',
    '"status" is never empty text; it is one of CREATED, DELAYED',
  ],
  [{ key: 'status', operator: '==', threshold: 7 }, 'rules.0.threshold', 'must be a text'],
])('a rule that could never work is refused: %o', (fields, path, said) => {
  const parsed = ruleOn(fields);
  const issues = parsed.ok ? [] : parsed.issues;
  expect(issues).toMatchObject([{ path }]);
  expect(issues[0]?.message).toContain(said);
});

test('a rule on one of the values is taken', () => {
  expect(ruleOn({ key: 'status', operator: '==', threshold: 'DELAYED' }).ok).toBe(true);
});
