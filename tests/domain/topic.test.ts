import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { compileTopic, isTopicName } from '../../src/domain/topic.ts';

const telemetry = compileTopic('users/{user_id}/devices/{device_id}/telemetry');

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
    const ticks = compileTopic('markets/{user_id}/{device_id}');
    expect(ticks.resembles('markets/x/a/b')).toBe(true);
    expect(ticks.resembles('users/x')).toBe(false);
  });

  test.each([
    ['users/{user_id}/telemetry', 'write {device_id}'],
    ['a/{user_id}/{user_id}/{device_id}', 'write {user_id} as a level of it, once'],
    ['a/{user_id}/{device_id}/{site}', '{site} is neither'],
    ['a/+/{user_id}/{device_id}', '"+" can\'t be a level'],
  ])('refuses the pattern %p', (pattern, message) => {
    expect(() => compileTopic(pattern)).toThrow(message);
  });
});
