import { computed, signal } from '@preact/signals';

/** Hash routes: `#/devices/user_1/pump_1`. Each part is decoded. */
const hash = signal(location.hash);
addEventListener('hashchange', () => {
  hash.value = location.hash;
});

export const route = computed(() => {
  const parts = hash.value.replace(/^#?\/?/, '').split('/');
  return parts.filter((part) => part !== '').map(decoded);
});

export function linkTo(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join('/')}`;
}

export function go(...parts: string[]): void {
  location.hash = linkTo(...parts);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
