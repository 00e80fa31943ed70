/** What aedes hands to its persistence: a publish or a pubrel, with the broker's own fields. */
export interface BrokerPacket {
  cmd?: string;
  topic?: string;
  payload?: Payload;
  qos?: number;
  retain?: boolean;
  dup?: boolean;
  messageId?: number;
  /** The broker run that took it in, and its number there: together the message's identity. */
  brokerId?: string;
  brokerCounter?: number;
  clientId?: string;
  /** Of the frame it came in; means nothing later. */
  length?: number | null;
}

/** A string only where a message was published inside the process. */
export type Payload = Buffer | Uint8Array | string;

/** A packet as two columns: its fields as JSON, and its payload, BLOB or TEXT. */
export interface StoredPacket {
  fields: string;
  payload: Payload | null;
}

export function storedPacket(packet: BrokerPacket): StoredPacket {
  const { payload, length: _, ...fields } = packet;
  return { fields: JSON.stringify(fields), payload: payload ?? null };
}

export function restoredPacket(stored: StoredPacket): BrokerPacket {
  const packet = JSON.parse(stored.fields) as BrokerPacket;
  if (stored.payload !== null) packet.payload = asPayload(stored.payload);
  return packet;
}

/** SQLite gives a BLOB as a Uint8Array; MQTT's writer wants a Buffer. */
export function asPayload(payload: Payload): Payload {
  if (typeof payload === 'string' || Buffer.isBuffer(payload)) return payload;
  return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
}
