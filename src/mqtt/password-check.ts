import { createHmac, randomBytes } from 'node:crypto';
import { hashPassword, isPassword, type PasswordHash } from '../domain/password-hash.ts';

export type PasswordVerdict = 'right' | 'wrong' | 'busy';

export interface PasswordCheck {
  /** `hash` null for an account that isn't there, which takes as long. */
  check(password: Uint8Array, hash: PasswordHash | null): Promise<PasswordVerdict>;
}

const MAX_REMEMBERED = 20_000;
/** The threads that hash are those that read files, too: some stay free. */
const AT_ONCE = 2;
/** At about 20 a second and thread, whoever is behind these has given up. */
const MAX_WAITING = 500;
/**
 * Checks passwords, few at a time. That a password was right is remembered by a keyed digest of it
 * together with its account's hash: a fleet that reconnects pays once, and a new password forgets
 * the old one.
 */
export function createPasswordCheck(): PasswordCheck {
  const key = randomBytes(32);
  const right = new Set<string>();
  const waiting: (() => void)[] = [];
  /** Nobody's, to be compared with where there is no account. */
  let nobody: Promise<PasswordHash> | undefined;
  let running = 0;

  async function slot(): Promise<boolean> {
    if (running < AT_ONCE) {
      running++;
      return true;
    }
    if (waiting.length >= MAX_WAITING) return false;
    // Whoever ends hands its place over.
    await new Promise<void>((resolve) => waiting.push(resolve));
    return true;
  }

  function leave(): void {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }

  return {
    async check(password, hash) {
      nobody ??= hashPassword(key.toString('hex'));
      const { passwordHash, salt } = hash ?? (await nobody);
      const digest = createHmac('sha256', key)
        .update(`${passwordHash}\0${salt}\0`)
        .update(password)
        .digest('base64');
      if (right.delete(digest)) {
        // The newest is last.
        right.add(digest);
        return 'right';
      }
      if (!(await slot())) return 'busy';
      try {
        const isRight = await isPassword(password, { passwordHash, salt });
        if (!isRight || hash === null) return 'wrong';
      } catch {
        // A hash that can't be read is nobody's.
        return 'wrong';
      } finally {
        leave();
      }
      right.add(digest);
      if (right.size > MAX_REMEMBERED) right.delete(right.values().next().value as string);
      return 'right';
    },
  };
}
