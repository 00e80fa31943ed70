import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  certFile: string;
  keyFile: string;
  cert: string;
  key: string;
}

const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** An authority in a folder of its own, by openssl. */
export function createAuthority() {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-ca-'));
  const path = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => {
    const { status, stderr } = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
    if (status !== 0) throw new Error(`openssl ${args[0]}: ${stderr}`);
  };
  openssl(
    ...['req', '-x509', ...EC_KEY, '-days', '10', '-subj', '/CN=test authority'],
    ...['-keyout', path('ca.key'), '-out', path('ca.pem')],
  );
  return {
    caFile: path('ca.pem'),
    ca: readFileSync(path('ca.pem'), 'utf8'),
    /** For 127.0.0.1, and as a client's. */
    issue(name: string, dates: string[] = ['-days', '9']): Certificate {
      const file = name.replace(/\W/g, '_');
      const [csr, ext] = [path(`${file}.csr`), path(`${file}.ext`)];
      const [certFile, keyFile] = [path(`${file}.pem`), path(`${file}.key`)];
      writeFileSync(ext, 'subjectAltName=IP:127.0.0.1,DNS:localhost');
      openssl('req', ...EC_KEY, '-subj', `/CN=${name}`, '-keyout', keyFile, '-out', csr);
      openssl(
        ...['x509', '-req', '-in', csr, '-CA', path('ca.pem'), '-CAkey', path('ca.key')],
        ...['-CAcreateserial', '-extfile', ext, '-out', certFile, ...dates],
      );
      const [cert, key] = [readFileSync(certFile, 'utf8'), readFileSync(keyFile, 'utf8')];
      return { certFile, keyFile, cert, key };
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}
