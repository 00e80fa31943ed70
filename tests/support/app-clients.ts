import { createClient } from 'graphql-ws';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';

/** GraphQL over HTTP, the answer as text: numbers to the digit. */
export async function queryText(url: string, query: string, variables = {}): Promise<string> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  return await response.text();
}

/** @throws Error with what the server refused */
// biome-ignore lint/suspicious/noExplicitAny: the shape is the query's, and tests compare it whole
export async function query(url: string, document: string, variables = {}): Promise<any> {
  const { data, errors } = JSON.parse(await queryText(url, document, variables));
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

/** A connected MQTT 3.1.1 client. */
export async function connectClient(
  url: string,
  options: IClientOptions = {},
): Promise<MqttClient> {
  const client = mqtt.connect(url, { protocolVersion: 4, reconnectPeriod: 50, ...options });
  client.on('error', () => {});
  await new Promise<void>((resolve) => client.once('connect', () => resolve()));
  return client;
}

export interface Heard {
  topic: string;
  text: string;
  /** Null where the text is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: parsed JSON, compared by tests
  json: any;
  retain: boolean;
}

/** Subscribes, and collects what comes. `messages` grows. */
export async function listen(client: MqttClient, filter: string): Promise<Heard[]> {
  const messages: Heard[] = [];
  client.on('message', (topic, payload, { retain }) => {
    const text = payload.toString();
    messages.push({ topic, text, json: parsed(text), retain });
  });
  await client.subscribeAsync(filter, { qos: 1 });
  return messages;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Runs a subscription over graphql-ws until `leave`. `events` and `errors` grow. */
export function subscribe(
  graphqlUrl: string,
  document: string,
  field: string,
  options: { connectionParams?: Record<string, unknown> } = {},
) {
  const url = graphqlUrl.replace(/^http/, 'ws');
  const client = createClient({ url, retryAttempts: 0, ...options });
  // biome-ignore lint/suspicious/noExplicitAny: the shape is the subscription's
  const events: any[] = [];
  const errors: unknown[] = [];
  client.subscribe<Record<string, unknown>>(
    { query: document },
    {
      next: ({ data, errors: refused }) => {
        if (refused) errors.push(...refused);
        else events.push(data?.[field]);
      },
      error: (error) => errors.push(error),
      complete: () => {},
    },
  );
  return { events, errors, leave: () => client.dispose() };
}

export const telemetryTopic = (user: string, device: string) =>
  `users/${user}/devices/${device}/telemetry`;
