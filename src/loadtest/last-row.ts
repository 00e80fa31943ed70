import type { Api } from './api.ts';
import type { Ledger } from './ledger.ts';
import { type DeviceName, deadLettersOf, isStored } from './queries.ts';
import type { RecordedRow } from './recording.ts';
import type { Simulation } from './simulation.ts';

/**
 * Whether the last acknowledged row is stored or a dead letter. A device's messages are handled in
 * order, so it comes after all others, whichever process stores it.
 */
export async function hasLastRow(at: {
  api: Api;
  simulation: Simulation;
  device: DeviceName;
  rows: readonly RecordedRow[];
  ledger: Ledger;
}): Promise<boolean> {
  const { api, simulation, device, rows, ledger } = at;
  const { userId, deviceId } = device;
  const row = rows[ledger.acknowledgedUpTo - 1];
  if (row === undefined) return true;
  const { sequenceId, time } = row;
  if (await isStored(api, { userId, deviceId, sequenceId, time })) return true;
  const letters = await deadLettersOf(api, simulation.topic({ userId, deviceId }));
  return letters.some((letter) => letter.sequenceId === sequenceId);
}
