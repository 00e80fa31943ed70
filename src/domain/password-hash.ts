/** Passwords of MQTT accounts, hashed as EMQX 5 reads them (docker/emqx.conf). */
import { pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const BCRYPT_COST = 10;
/** bcrypt sees no more of a password; EMQX and pgcrypto cut it off there, Bun would not. */
export const BCRYPT_MAX_BYTES = 72;
/** EMQX: `{name = pbkdf2, mac_fun = sha512, iterations = 210000, dk_length = 64}`. */
const PBKDF2 = { iterations: 210_000, bytes: 64, digest: 'sha512' } as const;

const derive = promisify(pbkdf2);

export interface PasswordHash {
  passwordHash: string;
  /** '' for bcrypt. */
  salt: string;
}

/** Off the main thread, some 50 ms of a core. */
export async function hashPassword(
  password: string,
  kind: 'bcrypt' | 'pbkdf2' = 'bcrypt',
): Promise<PasswordHash> {
  if (kind === 'bcrypt') {
    const options = { algorithm: 'bcrypt', cost: BCRYPT_COST } as const;
    return { passwordHash: await Bun.password.hash(password, options), salt: '' };
  }
  const salt = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex');
  const hash = await derive(password, salt, PBKDF2.iterations, PBKDF2.bytes, PBKDF2.digest);
  return { passwordHash: hash.toString('hex'), salt };
}

/** Off the main thread, in a time that doesn't depend on where the password is wrong. */
export async function isPassword(
  password: Uint8Array,
  { passwordHash, salt }: PasswordHash,
): Promise<boolean> {
  if (passwordHash.startsWith('$2')) {
    return await Bun.password.verify(password.subarray(0, BCRYPT_MAX_BYTES), passwordHash);
  }
  const wanted = Buffer.from(passwordHash, 'hex');
  const { iterations, bytes, digest } = PBKDF2;
  const given = await derive(password, salt, iterations, bytes, digest);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
