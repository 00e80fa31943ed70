import { model } from '../src/model.ts';
import { connect } from '../src/store/connection.ts';
import { copyText } from './copy.ts';

export interface PlainMessage {
  topic: string;
  value: Uint8Array;
}

/** The bare loop's half: parse, format, COPY. */
export interface PlainWriter {
  /** One transaction. */
  write(messages: readonly PlainMessage[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * What a first version looks like: no check of a message, no rules, no state, no watermark. One bad
 * message ends it, and after a crash it stores again what it has stored. Keys that come twice go
 * through a table of its own, because COPY alone would fail on them.
 */
export function createPlainWriter(
  url: string,
  options: { doubles: boolean; connections: number },
): PlainWriter {
  const sql = connect(url, { max: options.connections });

  async function merge(text: string): Promise<void> {
    await sql.begin(async (tx) => {
      await tx.unsafe(
        `CREATE TEMP TABLE IF NOT EXISTS fresh (LIKE ${model.table}) ON COMMIT DELETE ROWS`,
      );
      const stream = await tx.unsafe('COPY fresh FROM STDIN').writable();
      await new Promise<void>((resolve, reject) => {
        stream.once('error', reject).once('finish', resolve);
        stream.end(text);
      });
      await tx.unsafe(`INSERT INTO ${model.table} SELECT * FROM fresh ON CONFLICT DO NOTHING`);
    });
  }

  return {
    async write(messages) {
      const text = messages.map(lineOf).join('');
      await (options.doubles ? merge(text) : copyText(sql, text));
    },
    close: () => sql.end(),
  };
}

const utf8 = new TextDecoder();

/** One line of COPY text. */
export function lineOf({ topic, value }: PlainMessage): string {
  const [, user, , device] = topic.split('/');
  const { time, sequence_id, temperature, battery, ...extra } = JSON.parse(utf8.decode(value));
  const text = JSON.stringify(extra).replaceAll('\\', '\\\\');
  return `${time}\t${user}\t${device}\t${sequence_id}\t${temperature}\t${battery}\t${text}\n`;
}
