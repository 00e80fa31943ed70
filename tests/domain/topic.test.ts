import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { Owner } from '../../src/domain/model.ts';
import { compileTopic, isTopicName } from '../../src/domain/topic.ts';

const telemetry = patternOf('users/{user_id}/devices/{device_id}/telemetry');

function patternOf(topic: string, owner: Owner = { column: 'user_id' }, column = 'device_id') {
  return compileTopic({ topic, owner, device: { column } });
}

describe('compileTopic', () => {
  test('names every reading topic in one filter', () => {
    expect(telemetry.filter).toBe('users/+/devices/+/telemetry');
    expect(telemetry.match('users/u/devices/d/telemetry')).toEqual({ userId: 'u', deviceId: 'd' });
  });

  test.each([
    'users/u/devices/d/telemetry/x',
    'users//devices/d/telemetry',
    'users/u/devices//telemetry',
    'users/+/devices/d/telemetry',
    'users/u/devices/#/telemetry',
    'users/u\0/devices/d/telemetry',
    'Users/u/devices/d/telemetry',
    'users/u/devices/d/telemetry/',
    '/users/u/devices/d/telemetry',
    '',
  ])('does not match %p', (topic) => {
    expect(telemetry.match(topic)).toBeNull();
  });

  test('any fit names survive format and match; unfit ones are refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (userId, deviceId) => {
        const names = { userId, deviceId };
        if (isTopicName(userId) && isTopicName(deviceId)) {
          expect(telemetry.match(telemetry.format(names))).toEqual(names);
        } else {
          expect(() => telemetry.format(names)).toThrow('holds / + # or NUL');
        }
      }),
    );
  });

  test('knows a topic that was meant as telemetry', () => {
    expect(telemetry.resembles('users/u/telemetry')).toBe(true);
    expect(telemetry.resembles('telemetry')).toBe(true);
    expect(telemetry.resembles('users/u/devices/d/status')).toBe(false);
    expect(telemetry.resembles('$SYS/telemetry')).toBe(false);
    const ticks = patternOf('markets/{user_id}/{device_id}');
    expect(ticks.resembles('markets/x/a/b')).toBe(true);
    expect(ticks.resembles('users/x')).toBe(false);
  });

  test('takes the names of the columns, and one owner of all', () => {
    const events = patternOf('{parcel}/at/{customer_id}', { column: 'customer_id' }, 'parcel');
    expect(events.match('p/at/c')).toEqual({ userId: 'c', deviceId: 'p' });
    expect(events.format({ userId: 'c', deviceId: 'p' })).toBe('p/at/c');
    const ticks = patternOf('ticks/{symbol}', { constant: 'market' }, 'symbol');
    expect(ticks.filter).toBe('ticks/+');
    expect(ticks.match('ticks/ACME')).toEqual({ userId: 'market', deviceId: 'ACME' });
    expect(ticks.format({ userId: 'market', deviceId: 'ACME' })).toBe('ticks/ACME');
    expect(() => ticks.format({ userId: 'u', deviceId: 'ACME' })).toThrow('all readings are of');
    expect(ticks.resembles('ticks/a/b')).toBe(true);
    expect(ticks.resembles('users/u/config')).toBe(false);
  });
});
