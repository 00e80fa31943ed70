import { expect } from 'bun:test';
import type { Sql } from '../../src/store/connection.ts';

/** From now on the database notes every move of a watermark. */
export async function noteWatermarkMoves(sql: Sql): Promise<void> {
  await sql.unsafe(`
    CREATE TABLE watermark_moves (
      nr serial, partition integer, from_offset bigint, to_offset bigint);
    CREATE FUNCTION note_watermark_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO watermark_moves (partition, from_offset, to_offset)
        VALUES (NEW.partition, OLD.watermark, NEW.watermark);
      RETURN NEW;
    END $$;
    CREATE TRIGGER note_watermark_move AFTER UPDATE ON watermarks
      FOR EACH ROW EXECUTE FUNCTION note_watermark_move()`);
}

/** A batch is written once, by whomever: each move goes further than all before it. */
export async function expectForwardMoves(sql: Sql): Promise<void> {
  const back = await sql`
    SELECT partition, from_offset, to_offset FROM watermark_moves
    WHERE to_offset <= from_offset ORDER BY nr`;
  expect([...back]).toEqual([]);
}
