import { createPrivateKey, X509Certificate } from 'node:crypto';

/**
 * What is wrong with a server's certificate, where there is one: it has to be readable, in force,
 * and that of the key. `prefix` is that of the two settings.
 */
export function certificateFaults(
  prefix: 'MQTTS' | 'HTTPS',
  { cert, key }: { cert: string | null; key: string | null },
): string[] {
  const [certName, keyName] = [`${prefix}_CERT`, `${prefix}_KEY`];
  if ((cert === null) !== (key === null)) return [`${certName}, ${keyName}: set both, or neither`];
  if (cert === null || key === null) return [];
  const certificate = attempt(() => new X509Certificate(cert));
  if (certificate === null) return [`${certName}: holds no certificate; write the path of one`];
  const faults: string[] = [];
  const now = Date.now();
  const { validFrom, validTo } = certificate;
  if (now > Date.parse(validTo)) {
    faults.push(`${certName}: expired on ${validTo}; renew it`);
  } else if (now < Date.parse(validFrom)) {
    faults.push(`${certName}: is good from ${validFrom} only; check the clock, or take another`);
  }
  const privateKey = attempt(() => createPrivateKey(key));
  if (privateKey === null) {
    faults.push(
      `${keyName}: holds no key that can be read without a password; write the path of one`,
    );
  } else if (!certificate.checkPrivateKey(privateKey)) {
    faults.push(
      `${keyName}: is not the key of ${certName}; write the paths of two that belong together`,
    );
  }
  return faults;
}

/** What is wrong with the certificates that those of clients are checked against. */
export function authorityFaults(name: string, pem: string | null): string[] {
  if (pem === null) return [];
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g);
  const isReadable = (text: string) => attempt(() => new X509Certificate(text)) !== null;
  if (certificates?.every(isReadable)) return [];
  return [`${name}: holds no certificate, or one that can't be read; write the path of a PEM file`];
}

function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}
