import {
  isJsonObject,
  isWholeNumber,
  type JsonObject,
  type JsonValue,
  nestsDeeper,
  numberOf,
  parseJson,
  printable,
} from '../domain/json.ts';
import { type LogRecord, REFUSED_TOPIC } from '../domain/log.ts';
import type { Column, Model } from '../domain/model.ts';
import { type GeoPoint, readPoint } from '../domain/point.ts';
import type { Reading, Rejection, RejectReason } from '../domain/reading.ts';
import { MICROS_PER_MS, MICROS_PER_SECOND, type Micros, parseRfc3339 } from '../domain/time.ts';
import { compileTopic, deviceKey, type TopicNames } from '../domain/topic.ts';
import { decodeRefused } from './refused-record.ts';

/** `device` is the `deviceKey` of the reading, one string for all readings of a device. */
export type Decoded =
  | { ok: true; reading: Reading; extraText: string | null; topic: string; device: string }
  | {
      ok: false;
      rejection: Rejection;
      topic: string | null;
      /** Where the record's value is not what was sent. */
      payload?: Uint8Array;
    };

export type Decode = (record: LogRecord) => Decoded;

const EARLIEST = Date.UTC(2000, 0, 1) * MICROS_PER_MS;
const ONE_DAY = 86_400 * MICROS_PER_SECOND;
/** Below it a number is epoch seconds (until the year 5138), from it on milliseconds (since 1973). */
const FIRST_MILLISECONDS = 1e11;
/** A key of this size still fits the index of its table, with room to spare. */
const MAX_NAME_BYTES = 256;
const MAX_KNOWN_TOPICS = 10_000;
/**
 * Far from where Postgres refuses (some thousands), and from where JSON.stringify leaves its fast
 * path: 60 KB of brackets would take it half a second.
 */
const MAX_NESTING = 500;

interface KnownDevice extends TopicNames {
  key: string;
}

class Rejected extends Error {
  constructor(readonly rejection: Rejection) {
    super(rejection.detail);
  }
}

function reject(reason: RejectReason, detail: string): never {
  throw new Rejected({ reason, detail });
}

/**
 * Makes the stage that turns a log record into a reading, or says why it can't. Accepts the raw
 * payload with its MQTT topic beside it, or the envelope {"topic": ..., "payload": object or text}.
 * Never throws for what a device sent.
 */
export function createDecoder(model: Model, options: { maxPayloadBytes: number }): Decode {
  const pattern = compileTopic(model);
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const columns = Object.entries(model.columns);
  const { owner, device, sequence } = model;
  const ownerColumn = 'column' in owner ? owner.column : null;
  const declared = new Set<string>([...model.key, ...model.columnNames]);

  function decode(record: LogRecord): Decoded {
    let topic = record.topic;
    if (topic === REFUSED_TOPIC) {
      const refused = decodeRefused(record.value);
      if (refused !== null) {
        const { reason, detail, payload } = refused;
        return { ok: false, topic: refused.topic, rejection: { reason, detail }, payload };
      }
    }
    try {
      if (record.value.byteLength > options.maxPayloadBytes) {
        const size = record.value.byteLength;
        reject(
          'TOO_LARGE',
          `the payload has ${size} bytes; at most ${options.maxPayloadBytes} are taken`,
        );
      }
      const text = decodeText(utf8, record.value);
      let payload = parse(text);
      if (topic === null) {
        const envelope = openEnvelope(payload);
        topic = envelope.topic;
        const inner = envelope.payload;
        payload = typeof inner === 'string' ? parse(inner) : inner;
      }
      const names = namesIn(topic);
      if (!isJsonObject(payload)) reject('BAD_JSON', 'the payload is not a JSON object');
      // Only an escape, of the envelope or of the payload in it, can bring in what Postgres can't
      // store: raw, JSON or UTF-8 refuses it.
      if (text.includes('\\u')) checkText(payload, '');
      return toReading(topic, payload, names, record.arrivalMs * MICROS_PER_MS);
    } catch (error) {
      if (error instanceof Rejected) return { ok: false, rejection: error.rejection, topic };
      throw error;
    }
  }

  /** Devices send to one topic again and again. */
  const knownTopics = new Map<string, KnownDevice>();

  function namesIn(topic: string): KnownDevice {
    const known = knownTopics.get(topic);
    if (known !== undefined) return known;
    const names = readNames(topic);
    if (knownTopics.size >= MAX_KNOWN_TOPICS) knownTopics.clear();
    const device = { ...names, key: deviceKey(names) };
    knownTopics.set(topic, device);
    return device;
  }

  function readNames(topic: string): TopicNames {
    const names = pattern.match(topic);
    if (names === null) return reject('BAD_TOPIC', `the topic is not of the form ${model.topic}`);
    for (const name of [names.userId, names.deviceId]) {
      // From an envelope; in a query it would take every reading of the batch along.
      if (!name.isWellFormed()) reject('BAD_TOPIC', 'a name in the topic holds a lone surrogate');
      // A character has three bytes at the most (four for two units), so short names need no count.
      if (name.length > MAX_NAME_BYTES / 3 && Buffer.byteLength(name) > MAX_NAME_BYTES) {
        reject('BAD_TOPIC', `a name in the topic has more than ${MAX_NAME_BYTES} bytes`);
      }
    }
    return names;
  }

  function toReading(
    topic: string,
    payload: JsonObject,
    names: KnownDevice,
    arrival: Micros,
  ): Decoded {
    checkName(device.column, payload[device.column], names.deviceId);
    if (ownerColumn !== null) checkName(ownerColumn, payload[ownerColumn], names.userId);
    const time = decodeTime(payload.time, arrival);
    const sequenceId =
      sequence === null ? 0 : decodeSequenceId(sequence.column, payload[sequence.column]);
    const values: Record<string, number | string | boolean | GeoPoint | null> = {};
    for (const [name, column] of columns) {
      values[name] = decodeColumn(name, column, payload[name]);
    }
    let extra: JsonObject | null = null;
    for (const name of Object.keys(payload)) {
      if (declared.has(name)) continue;
      // Without a prototype, "__proto__" is a name like any other.
      extra ??= { __proto__: null } as unknown as JsonObject;
      extra[name] = payload[name] as JsonValue;
    }
    const { userId, deviceId } = names;
    const reading: Reading = { time, userId, deviceId, sequenceId, columns: values, extra };
    const extraText = extra === null ? null : JSON.stringify(extra);
    return { ok: true, reading, extraText, topic, device: names.key };
  }

  return decode;
}

function decodeText(utf8: InstanceType<typeof TextDecoder>, value: Uint8Array): string {
  try {
    return utf8.decode(value);
  } catch {
    return reject('BAD_ENCODING', 'the payload is not UTF-8');
  }
}

function parse(text: string): JsonValue {
  if (nestsDeeper(text, MAX_NESTING)) {
    reject('BAD_JSON', `the payload is nested more than ${MAX_NESTING} levels deep`);
  }
  try {
    return parseJson(text);
  } catch (error) {
    // It quotes the text, into which an escape of the envelope may have brought anything.
    if (error instanceof SyntaxError) reject('BAD_JSON', `not JSON: ${printable(error.message)}`);
    throw error;
  }
}

function openEnvelope(value: JsonValue): { topic: string; payload: JsonValue } {
  if (!isJsonObject(value) || typeof value.topic !== 'string' || value.payload === undefined) {
    reject('BAD_TOPIC', 'the record has no topic header and is no {"topic", "payload"} envelope');
  }
  return { topic: value.topic, payload: value.payload };
}

function checkName(field: string, value: JsonValue | undefined, name: string): void {
  if (value === undefined || value === name) return;
  reject('DEVICE_MISMATCH', `${field}: ${show(value)} contradicts the topic's "${name}"`);
}

function decodeTime(value: JsonValue | undefined, arrival: Micros): Micros {
  if (value === undefined || value === null) reject('MISSING_FIELD', 'time is missing');
  let time: Micros | null = null;
  const number = numberOf(value);
  if (number !== null) {
    const perUnit = Math.abs(number) < FIRST_MILLISECONDS ? MICROS_PER_SECOND : MICROS_PER_MS;
    time = Math.round(number * perUnit);
  } else if (typeof value === 'string') {
    time = parseRfc3339(value);
  }
  if (time === null) {
    return reject('WRONG_TYPE', `time: ${show(value)} is neither RFC 3339 nor an epoch number`);
  }
  if (!(time >= EARLIEST && time <= arrival + ONE_DAY)) {
    reject('TIME_OUT_OF_RANGE', `time: ${show(value)} is not from 2000-01-01 to arrival + 1 day`);
  }
  return time;
}

function decodeSequenceId(name: string, value: JsonValue | undefined): number {
  if (value === undefined || value === null) reject('MISSING_FIELD', `${name} is missing`);
  const number = numberOf(value);
  if (number === null || !isWholeNumber(value)) {
    return reject('WRONG_TYPE', `${name}: ${show(value)} is not an integer`);
  }
  if (!Number.isSafeInteger(number) || number < 0) {
    reject('OUT_OF_RANGE', `${name}: ${show(value)} is not from 0 to 2^53 - 1`);
  }
  return number === 0 ? 0 : number;
}

function decodeColumn(name: string, column: Column, value: JsonValue | undefined) {
  if (value === undefined || value === null) {
    if (column.nullable) return null;
    return reject('MISSING_FIELD', `${name} is missing`);
  }
  if (column.type === 'boolean') {
    if (typeof value !== 'boolean')
      reject('WRONG_TYPE', `${name}: ${show(value)} is not a boolean`);
    return value;
  }
  if (column.type === 'text') {
    if (typeof value !== 'string')
      return reject('WRONG_TYPE', `${name}: ${show(value)} is not text`);
    if (value.length > column.maxLength) {
      reject('OUT_OF_RANGE', `${name} has more than ${column.maxLength} characters`);
    }
    if (column.values !== undefined && !column.values.includes(value)) {
      reject('OUT_OF_RANGE', `${name}: ${show(value)} is not one of ${column.values.join(', ')}`);
    }
    return value;
  }
  if (column.type === 'point') {
    const read = readPoint(value);
    return read.ok ? read.point : reject(read.reason, `${name}: ${show(value)} ${read.detail}`);
  }
  const number = numberOf(value);
  if (number === null || (column.type === 'integer' && !isWholeNumber(value))) {
    const wanted = column.type === 'integer' ? 'an integer' : 'a number';
    return reject('WRONG_TYPE', `${name}: ${show(value)} is not ${wanted}`);
  }
  const { min = -Number.MAX_VALUE, max = Number.MAX_VALUE } = column;
  if (!(number >= min && number <= max)) {
    reject('OUT_OF_RANGE', `${name}: ${show(value)} ${outOfRange(column)}`);
  }
  return number === 0 ? 0 : number;
}

function outOfRange({ min, max }: { min?: number; max?: number }): string {
  if (min !== undefined && max !== undefined) return `is not from ${min} to ${max}`;
  if (min !== undefined) return `is below ${min}`;
  return max === undefined ? 'is no finite number' : `is above ${max}`;
}

/** Postgres stores neither NUL nor a lone surrogate, in text and in jsonb alike. */
function checkText(value: JsonValue, path: string): void {
  if (typeof value === 'string') {
    if (value.includes('\0'))
      reject('UNSTORABLE_TEXT', `${path || 'the payload'} holds a NUL character`);
    if (!value.isWellFormed()) {
      reject('UNSTORABLE_TEXT', `${path || 'the payload'} holds a lone surrogate`);
    }
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) checkText(item, `${path}[${index}]`);
  } else if (isJsonObject(value)) {
    for (const [name, item] of Object.entries(value)) {
      const shown = name.toWellFormed().replaceAll('\0', '\\0');
      checkText(name, `a field name in ${path || 'the payload'}`);
      checkText(item, path === '' ? shown : `${path}.${shown}`);
    }
  }
}

/** A value as an error message shows it: short, on one line. */
function show(value: JsonValue): string {
  const text = JSON.stringify(value);
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return short.replaceAll('\\u0000', '\\0').toWellFormed();
}
