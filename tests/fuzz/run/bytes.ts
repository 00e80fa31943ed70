import fc from 'fast-check';

/** Bytes that parsers of lengths, numbers and text stumble over. */
const AWKWARD = [
  [0],
  [0xff],
  [0x7f],
  [0x80],
  [0xff, 0xff],
  [0xff, 0xff, 0xff, 0x7f],
  [0xff, 0xff, 0xff, 0xff, 0xff],
  [0xc3, 0x28],
  [0xed, 0xa0, 0x80],
  [0xf4, 0x90, 0x80, 0x80],
  [0xef, 0xbb, 0xbf],
  [0x0d, 0x0a],
  [0x22],
  [0x5c],
  [0x5b],
  [0x7b],
  [0x7d],
].map((bytes) => Uint8Array.from(bytes));

interface Edit {
  kind: 'insert' | 'overwrite' | 'delete' | 'repeat' | 'cut' | 'flip';
  /** Where, of 2^16 parts of the length. */
  at: number;
  length: number;
  bytes: Uint8Array;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom('insert', 'overwrite', 'delete', 'repeat', 'cut', 'flip'),
  at: fc.nat(0xffff),
  length: fc.integer({ min: 1, max: 12 }),
  bytes: fc.oneof(fc.constantFrom(...AWKWARD), fc.uint8Array({ minLength: 1, maxLength: 8 })),
});

/** The same bytes, some of them damaged. */
export function damaged(base: fc.Arbitrary<Uint8Array>, edits = 4): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(base, fc.array(edit, { minLength: 1, maxLength: edits }))
    .map(([bytes, all]) => all.reduce(apply, bytes));
}

function apply(bytes: Uint8Array, { kind, at, length, bytes: other }: Edit): Uint8Array {
  const place = Math.floor((at / 0x10000) * (bytes.length + 1));
  const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)];
  switch (kind) {
    case 'insert':
      return Buffer.concat([before, other, after]);
    case 'overwrite':
      return Buffer.concat([before, other, after.subarray(other.length)]);
    case 'delete':
      return Buffer.concat([before, after.subarray(length)]);
    case 'repeat':
      return Buffer.concat([before, ...Array(length).fill(after.subarray(0, 16)), after]);
    case 'cut':
      return before;
    case 'flip': {
      const copy = Uint8Array.from(bytes);
      if (place < copy.length) copy[place] = (copy[place] as number) ^ (1 << (length % 8));
      return copy;
    }
  }
}

export const rawBytes = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  fc.uint8Array({ maxLength: 1_024 }),
);

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Bytes as a report can show them, and a program can read them back. */
export function shown(value: unknown): string {
  const text = fc.stringify(value);
  return text.length > 4_000 ? `${text.slice(0, 4_000)}... (${text.length} characters)` : text;
}
