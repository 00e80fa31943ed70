import { describe, expect, test } from 'bun:test';
import {
  alertsTopic,
  configRejectedTopic,
  configTopic,
  manageRejectedTopic,
  manageTopic,
} from '../../src/mqtt/topics.ts';

describe('user topics', () => {
  test('are what the design says', () => {
    expect(configTopic.format('u')).toBe('users/u/config');
    expect(configRejectedTopic.format('u')).toBe('users/u/config/rejected');
    expect(alertsTopic.format('u')).toBe('users/u/alerts');
    expect(manageTopic.filter).toBe('users/+/alerts/manage');
    expect(manageRejectedTopic.format('u')).toBe('users/u/alerts/manage/rejected');
  });

  test('match their own topics only', () => {
    expect(configTopic.match('users/u/config')).toBe('u');
    for (const topic of [
      'users/u/config/rejected',
      'users/a/b/config',
      'users//config',
      'users/config',
    ]) {
      expect(configTopic.match(topic)).toBeNull();
    }
    expect(manageTopic.match('users/u/alerts/manage')).toBe('u');
    expect(alertsTopic.match('users/u/alerts/manage')).toBeNull();
    expect(manageTopic.match('users/u/alerts/manage/rejected')).toBeNull();
  });

  test('refuse a name that would become other topics', () => {
    for (const userId of ['', 'a/b', '+', '#', '\0']) {
      expect(() => alertsTopic.format(userId)).toThrow('user name');
    }
  });
});
