import { forgetTimes } from '../domain/reset-clock.ts';
import type { Sql } from './connection.ts';
import { loadDeviceStates } from './device-state.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { packMemory } from './pack-memory.ts';

const WAIT = '5s';

/**
 * Has a device's rules forget which readings they saw. The version moves under the row lock, which
 * a batch that was evaluated before meets as it does the fence: it rolls back and is evaluated
 * again, on what is written here.
 *
 * @returns false where there is no such device
 * @throws where the row stays locked for 5 s
 */
export async function resetDeviceClock(sql: Sql, device: DeviceKey): Promise<boolean> {
  return await sql.begin(async (tx) => {
    await tx`SELECT set_config('lock_timeout', ${WAIT}, true),
                    set_config('statement_timeout', ${WAIT}, true)`;
    await tx`
      SELECT FROM device_state
      WHERE user_id = ${device.userId} AND device_id = ${device.deviceId} FOR UPDATE`;
    const [state] = await loadDeviceStates(tx as unknown as Sql, [device]);
    if (state === undefined) return false;
    const { rules, calmTime, calmSequence } = packMemory(forgetTimes(state.memory));
    await tx`
      UPDATE device_state
      SET version = version + 1, newest_time = NULL, rules = ${rules}::text::jsonb,
          calm_time = ${calmTime}, calm_sequence = ${calmSequence}
      WHERE user_id = ${device.userId} AND device_id = ${device.deviceId}`;
    return true;
  });
}
