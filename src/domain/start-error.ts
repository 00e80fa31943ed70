export type StartErrorCode =
  | 'BAD_CONFIGURATION'
  | 'MODEL_UNUSABLE'
  | 'DATA_DIR_IN_USE'
  | 'DATA_DIR_UNUSABLE'
  | 'PORT_TAKEN'
  | 'POSTGRES_UNAVAILABLE'
  | 'POSTGRES_FAILED'
  | 'DATABASE_UNUSABLE'
  | 'KAFKA_UNAVAILABLE'
  | 'KAFKA_UNUSABLE';

/**
 * Why the process can't start, in one line that says what was wrong, where, and what to do. The
 * entry prints the message alone: the reader is at a terminal, and no stack would help there.
 */
export class StartError extends Error {
  override readonly name = 'StartError';
  readonly code: StartErrorCode;

  constructor(code: StartErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
