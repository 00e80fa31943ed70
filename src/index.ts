import { slowHeapGrowth } from './heap-growth.ts';

// Before anything else is loaded: where it does something, it begins the process anew.
if (import.meta.main) slowHeapGrowth();
await import('./main.ts');
