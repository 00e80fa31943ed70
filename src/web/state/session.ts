import { computed, signal } from '@preact/signals';
import { ApiError, request, signInReason, wordsOf } from './api.ts';
import { ME, USERS } from './documents.ts';
import { poll } from './live.ts';
import type { Page } from './types.ts';

/** Who asks: null while that is not known yet. */
export const caller = signal<{ isOperator: boolean; userId: string | null } | null>(null);
/** All users by name, as far as the operator's switch lists them. */
export const users = signal<string[]>([]);
const chosen = signal<string | null>(sessionStorage.getItem('user'));
/** Whose things are shown; null for those of all users, which only an operator sees. */
export const userId = computed(() => caller.value?.userId ?? chosen.value);
/** Why the page cannot start, other than that it wants a token. */
export const startProblem = signal<string | null>(null);

const MAX_PAGES = 10;
const REFRESH_MS = 15_000;

export function chooseUser(id: string | null): void {
  chosen.value = id;
  if (id === null) sessionStorage.removeItem('user');
  else sessionStorage.setItem('user', id);
}

/** Learns who asks, again and again until the server has answered. */
export function startSession(): void {
  const leave = poll(async () => {
    try {
      const { me } = await request<{ me: { id: string } | null }>(ME);
      startProblem.value = null;
      caller.value = { isOperator: me === null, userId: me?.id ?? null };
      leave();
      if (me === null) poll(loadUsers, REFRESH_MS);
    } catch (error) {
      const isDevice = error instanceof ApiError && error.code === 'BAD_USER_INPUT';
      if (isDevice) signInReason.value = "a device's token shows nothing here: take a user's";
      else startProblem.value = wordsOf(error);
    }
  }, 1_000);
}

async function loadUsers(): Promise<void> {
  const names: string[] = [];
  let after: string | null = null;
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const answer: { users: Page<{ id: string }> } = await request(USERS, { after });
    names.push(...answer.users.nodes.map(({ id }) => id));
    after = answer.users.pageInfo.endCursor;
    if (!answer.users.pageInfo.hasNextPage) break;
  }
  if (names.join() !== users.value.join()) users.value = names;
}
