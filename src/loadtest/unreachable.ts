/** A server that can't be used from the start: said once, in words, and the run ends. */
export class UnreachableError extends Error {}
