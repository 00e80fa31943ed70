import { effect, signal } from '@preact/signals';
import { request } from './api.ts';
import { devices as devicesDocument, fleet, someDevices } from './documents.ts';
import { poll } from './live.ts';
import { readingFields } from './model.ts';
import { caller, userId } from './session.ts';
import type { DeviceRow, Page } from './types.ts';

export const devices = signal<DeviceRow[]>([]);
export const isLoaded = signal(false);
/** Whether there are more than the page takes in. */
export const isCut = signal(false);
/** Those on the screen, which are read again more often than the rest. */
export const visible = signal<readonly DeviceRow[]>([]);

const MAX_DEVICES = 20_000;
const FLEET_MS = 20_000;
const VISIBLE_MS = 2_000;
const MAX_VISIBLE = 40;

export const keyOf = (row: { userId: string; deviceId: string }) => `${row.userId}/${row.deviceId}`;

/** Follows the devices of whoever is chosen, while a view shows them. */
export function watchDevices(): () => void {
  return effect(() => {
    if (caller.value === null) return;
    const user = userId.value;
    let isOver = false;
    devices.value = [];
    isLoaded.value = false;
    const leaves = [
      poll(async () => {
        const rows = await (user === null ? allDevices() : devicesOf(user, null));
        if (isOver) return;
        isCut.value = rows.length >= MAX_DEVICES;
        devices.value = rows;
        isLoaded.value = true;
      }, FLEET_MS),
      poll(() => refresh(() => isOver), VISIBLE_MS),
    ];
    return () => {
      isOver = true;
      for (const leave of leaves) leave();
    };
  });
}

type Node = Omit<DeviceRow, 'userId'>;
const rowsOf = (user: string, nodes: Node[]) => nodes.map((node) => ({ userId: user, ...node }));

async function devicesOf(user: string, after: string | null): Promise<DeviceRow[]> {
  const rows: DeviceRow[] = [];
  let cursor = after;
  while (rows.length < MAX_DEVICES) {
    const variables = { userId: user, after: cursor };
    type Answer = { user: { devices: Page<Node> } | null };
    const answer: Answer = await request(devicesDocument(readingFields), variables);
    if (answer.user === null) break;
    const { nodes, pageInfo } = answer.user.devices;
    rows.push(...rowsOf(user, nodes));
    if (!pageInfo.hasNextPage) break;
    cursor = pageInfo.endCursor;
  }
  return rows;
}

async function allDevices(): Promise<DeviceRow[]> {
  const rows: DeviceRow[] = [];
  let after: string | null = null;
  while (rows.length < MAX_DEVICES) {
    const answer: { users: Page<{ id: string; devices: Page<Node> }> } = await request(
      fleet(readingFields),
      { after },
    );
    for (const { id, devices } of answer.users.nodes) {
      rows.push(...rowsOf(id, devices.nodes));
      const { hasNextPage, endCursor } = devices.pageInfo;
      if (hasNextPage && rows.length < MAX_DEVICES) rows.push(...(await devicesOf(id, endCursor)));
    }
    if (!answer.users.pageInfo.hasNextPage) break;
    after = answer.users.pageInfo.endCursor;
  }
  return rows;
}

/** Reads what is on the screen again, in one request. */
async function refresh(isOver: () => boolean): Promise<void> {
  const shown = visible.peek().slice(0, MAX_VISIBLE);
  if (shown.length === 0) return;
  const names = shown.flatMap((row, at) => [
    [`u${at}`, row.userId],
    [`d${at}`, row.deviceId],
  ]);
  const answer = await request<Record<string, { device: Node | null } | null>>(
    someDevices(readingFields, shown.length),
    Object.fromEntries(names),
  );
  if (isOver()) return;
  const fresh = new Map<string, Node>();
  for (const [at, row] of shown.entries()) {
    const node = answer[`n${at}`]?.device;
    if (node && node.lastSeenAt !== row.lastSeenAt) fresh.set(keyOf(row), node);
  }
  if (fresh.size === 0) return;
  devices.value = devices.peek().map((row) => {
    const node = fresh.get(keyOf(row));
    return node === undefined ? row : { ...row, ...node };
  });
}
