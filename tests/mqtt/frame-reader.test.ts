import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { generate, type Packet } from 'mqtt-packet';
import { createFrameReader, readCutPublish } from '../../src/mqtt/frame-reader.ts';

const MAX_BYTES = 300;
const KEPT_BYTES = 100;

function publish(payload: Buffer, protocolVersion: 4 | 5 = 4): Buffer {
  const packet: Packet = {
    cmd: 'publish',
    topic: 'users/ü/x',
    payload,
    qos: 1,
    messageId: 513,
    dup: false,
    retain: false,
    ...(protocolVersion === 5 ? { properties: { contentType: 'text' } } : {}),
  };
  return generate(packet, { protocolVersion });
}

const ping = generate({ cmd: 'pingreq' });
const packets = fc.array(
  fc.oneof(
    fc.constant(ping),
    // The length of a packet takes one, two or three bytes.
    fc
      .oneof(fc.nat(150), fc.nat(500), fc.constant(20_000))
      .map((size) => publish(Buffer.alloc(size, size))),
  ),
  { maxLength: 12 },
);

describe('frames', () => {
  test('however the bytes are cut, the packets are the same', () => {
    fc.assert(
      fc.property(packets, fc.array(fc.nat(), { maxLength: 20 }), (sent, cuts) => {
        const bytes = Buffer.concat(sent);
        const ends = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
        const reader = createFrameReader({ maxBytes: MAX_BYTES, keptBytes: KEPT_BYTES });
        const frames = [0, ...ends].flatMap((start, i) =>
          reader.push(bytes.subarray(start, ends[i] ?? bytes.length)),
        );
        expect(frames.map(({ size }) => size)).toEqual(sent.map(({ length }) => length));
        for (const [i, { bytes: got, size, isCut }] of frames.entries()) {
          expect(isCut).toBe(size > MAX_BYTES);
          const whole = sent[i] as Buffer;
          expect(got.equals(isCut ? whole.subarray(0, KEPT_BYTES) : whole)).toBe(true);
        }
      }),
    );
  });

  test('what is no MQTT is refused', () => {
    const reader = createFrameReader({ maxBytes: MAX_BYTES, keptBytes: KEPT_BYTES });
    expect(() => reader.push(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff]))).toThrow(
      'not speak MQTT',
    );
  });
});

describe('the beginning of a large message', () => {
  test.each([4, 5] as const)('tells its topic and its id (MQTT %i)', (version) => {
    const payload = Buffer.from('0123456789'.repeat(30_000));
    const cut = readCutPublish(publish(payload, version).subarray(0, 200), version);
    expect(cut).toMatchObject({ topic: 'users/ü/x', messageId: 513, qos: 1 });
    expect(cut?.payload.length).toBeGreaterThan(150);
    expect(payload.indexOf(cut?.payload ?? 'nothing')).toBe(0);
  });

  test('is null where it is another packet, or ends before the topic does', () => {
    expect(readCutPublish(ping, 4)).toBeNull();
    expect(readCutPublish(publish(Buffer.alloc(9)).subarray(0, 8), 4)).toBeNull();
  });
});
