import type { TcpProxy } from '../../../support/tcp-proxy.ts';
import type { Fault } from '../fault.ts';

const RESETS = 4;
const BETWEEN_RESETS_MS = 300;

/** The three ways in which connections break. `way`: from whom to whom. */
export function networkFaults(way: string, proxy: TcpProxy): Fault[] {
  const targets = [way];
  return [
    {
      name: `${way}: connections stall`,
      targets,
      holdMs: [2_000, 8_000],
      async inject() {
        proxy.freeze();
        return async () => proxy.thaw();
      },
    },
    {
      name: `${way}: connections are reset`,
      targets,
      holdMs: [200, 1_000],
      async inject() {
        for (let n = 1; n < RESETS; n++) {
          proxy.reset();
          await Bun.sleep(BETWEEN_RESETS_MS);
        }
        return async () => proxy.reset();
      },
    },
    {
      name: `${way}: accepts and closes at once`,
      targets,
      holdMs: [1_000, 5_000],
      async inject() {
        proxy.hangUp();
        return async () => proxy.pickUp();
      },
    },
  ];
}
