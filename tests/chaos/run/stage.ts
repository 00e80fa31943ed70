import type { Fault } from './fault.ts';

export type StackName = 'embedded' | 'kafka';

/** A running stack, and what harms it. */
export interface Stage {
  readonly name: StackName;
  /** GraphQL, with the path. */
  readonly url: string;
  /** By way of a proxy on which the devices' connections can be cut. */
  readonly mqttUrl: string;
  readonly faults: readonly Fault[];
  /** Harm with loss that nobody promises to prevent: counted, and no part of the verdict. */
  readonly beyond: Fault | null;
  /** Kinds that can't be had here, with the reason. */
  readonly skipped: readonly string[];
  /** Of Pulsegraph's processes at this moment. */
  pids(): number[];
  /** The last words of each of them. */
  logs(): string;
  close(): Promise<void>;
}
