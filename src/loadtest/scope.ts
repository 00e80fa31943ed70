import type { DeviceName } from './queries.ts';
import type { Simulation } from './simulation.ts';

/** What belongs to a run, of all that a server tells. */
export interface Scope {
  /** In the name of each of its users, or of its devices where everything has one owner. */
  readonly run: string;
  /** Whose device shows that alerts come through. */
  readonly probe: DeviceName;
  isProbe(device: DeviceName): boolean;
  /** Alerts of this rule on this device are the run's, and must be as foreseen. */
  holds(alert: DeviceName & { ruleId: string }): boolean;
}

export function createScope(run: string, { owner }: Pick<Simulation, 'owner'>): Scope {
  const probe =
    owner === null
      ? { userId: `${run}_probe`, deviceId: 'device_probe' }
      : { userId: owner, deviceId: `${run}_probe` };
  const isProbe = ({ userId, deviceId }: DeviceName) =>
    userId === probe.userId && deviceId === probe.deviceId;
  return {
    run,
    probe,
    isProbe,
    holds(alert) {
      if (isProbe(alert)) return false;
      if (owner === null) return alert.userId.startsWith(`${run}_`);
      // The owner's other rules look at the run's devices, too.
      return alert.deviceId.startsWith(`${run}_`) && alert.ruleId.startsWith(`${run}-`);
    },
  };
}
