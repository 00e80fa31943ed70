import type { TestApp } from '../../../support/app.ts';
import { type Fault, healed, revive, stall } from '../fault.ts';

const targets = ['process'];

/** The one process of the embedded stack, which its own servers go down with. */
export function processFaults(app: TestApp): Fault[] {
  return [
    {
      name: 'kill -9 of the process',
      targets,
      holdMs: [0, 2_000],
      async inject() {
        await app.kill();
        return () => revive(app);
      },
    },
    {
      name: 'graceful stop and start',
      targets,
      holdMs: [0, 2_000],
      async inject() {
        await app.stop();
        return () => revive(app);
      },
    },
    {
      name: 'the process stands still, again and again',
      targets,
      holdMs: [0, 0],
      async inject(random) {
        await stall(app.pid, random);
        return healed;
      },
    },
  ];
}
