import type { Position } from './embedded-log-file.ts';

/** The groups' committed positions: in memory, saved to the file when `takeUnsaved` is called. */
export interface Groups {
  committed(groupId: string, partition: number): number | null;
  /** Never moves backwards. @returns whether it moved */
  commit(position: Position): boolean;
  /** From now on this group's records are kept until it has committed past them. */
  attach(groupId: string): () => void;
  /** Per partition: what every attached group has committed past; 0 while there is none. */
  floors(): number[];
  /** The lowest committed position of the attached groups; null when one has none. */
  lowest(partition: number): number | null;
  takeUnsaved(): Position[];
  /** Puts back what could not be saved. */
  putBack(positions: Position[]): void;
  unsaved(): boolean;
}

export function createGroups(saved: Position[], partitions: number): Groups {
  const groups = new Map<string, (number | null)[]>();
  const attached = new Map<string, number>();
  const unsaved = new Map<string, Position>();
  const keyOf = ({ groupId, partition }: Position) => `${partition}/${groupId}`;

  function groupOf(groupId: string): (number | null)[] {
    let group = groups.get(groupId);
    if (!group) {
      group = new Array<number | null>(partitions).fill(null);
      groups.set(groupId, group);
    }
    return group;
  }
  for (const { groupId, partition, next } of saved) groupOf(groupId)[partition] = next;

  function lowest(partition: number): number | null {
    let floor = Number.POSITIVE_INFINITY;
    for (const groupId of attached.keys()) {
      const next = groupOf(groupId)[partition] ?? null;
      if (next === null) return null;
      floor = Math.min(floor, next);
    }
    return Number.isFinite(floor) ? floor : null;
  }

  return {
    committed: (groupId, partition) => groups.get(groupId)?.[partition] ?? null,
    commit(position) {
      const group = groupOf(position.groupId);
      const before = group[position.partition] ?? null;
      if (before !== null && position.next <= before) return false;
      group[position.partition] = position.next;
      unsaved.set(keyOf(position), position);
      return true;
    },
    attach(groupId) {
      attached.set(groupId, (attached.get(groupId) ?? 0) + 1);
      return () => {
        const count = (attached.get(groupId) ?? 0) - 1;
        if (count > 0) attached.set(groupId, count);
        else attached.delete(groupId);
      };
    },
    floors: () => Array.from({ length: partitions }, (_, partition) => lowest(partition) ?? 0),
    lowest,
    takeUnsaved() {
      const positions = [...unsaved.values()];
      unsaved.clear();
      return positions;
    },
    putBack(positions) {
      for (const position of positions) {
        if (!unsaved.has(keyOf(position))) unsaved.set(keyOf(position), position);
      }
    },
    unsaved: () => unsaved.size > 0,
  };
}
