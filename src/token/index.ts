import { SignJWT } from 'jose';
import { type Config, ConfigError, loadConfig } from '../config.ts';
import { parseOptions, type TokenRequest } from './options.ts';

/** `bun src/token`: 0 the token is on stdout, 2 an option or a setting is wrong. */
const WRONG = 2;

async function main(): Promise<number> {
  const parsed = parseOptions(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
  if (parsed.kind === 'exit') return parsed.code;
  const config = readConfig();
  if (config === null) return WRONG;
  if (config.authJwtSecret === null) {
    process.stderr.write(
      config.authJwksUrl === null
        ? 'AUTH_JWT_SECRET: not set, so the API asks for no token; `openssl rand -hex 32` makes one, ' +
            'which the server needs too\n'
        : 'AUTH_JWKS_URL: set, so tokens come from the identity provider that has the private keys\n',
    );
    return WRONG;
  }
  process.stdout.write(`${await mint(parsed.request, config, config.authJwtSecret)}\n`);
  return 0;
}

function readConfig(): Config | null {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const fault of error.faults) process.stderr.write(`${fault}\n`);
    return null;
  }
}

async function mint(
  { role, userId, deviceId, expiresSeconds }: TokenRequest,
  { authIssuer, authAudience }: Config,
  secret: string,
): Promise<string> {
  const now = Math.floor(Date.now() / 1_000);
  const token = new SignJWT({ role, ...(deviceId === null ? {} : { device: deviceId }) })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuedAt(now)
    .setExpirationTime(now + expiresSeconds);
  if (userId !== null) token.setSubject(userId);
  if (authIssuer !== null) token.setIssuer(authIssuer);
  if (authAudience !== null) token.setAudience(authAudience);
  return await token.sign(new TextEncoder().encode(secret));
}

process.exitCode = await main();
