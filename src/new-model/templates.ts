/** What `bun src/new-model` writes. */
export interface Place {
  name: string;
  /** What the start is given, as a shell takes it. */
  settings: string;
  /** Of src/domain/model.ts, as the model file imports it. */
  importPath: string;
}

export function modelText({ name, importPath }: Place): string {
  const table = name.replaceAll('-', '_');
  return `import { defineModel } from '${importPath}';

/**
 * The data of ${name}. From this file follow the table, the check of what comes in, the GraphQL
 * fields, the MQTT topic and the keys of rules. docs/models.md describes all that can stand here.
 */
export const model = defineModel({
  // The table that takes the readings.
  table: '${table}_readings',
  // Where they are sent: owner and device are levels of the topic.
  topic: '${name}/{user_id}/{device_id}/readings',
  // Whose a reading is, who alone sees it. One user for all: { constant: 'market' }.
  owner: { column: 'user_id' },
  // What sent it: a device, a package, a symbol.
  device: { column: 'device_id' },
  // A whole number in each message that tells readings of one time apart; null: there are none.
  sequence: { column: 'sequence_id' },
  // What is measured. A message that doesn't fit becomes a dead letter that says why.
  columns: {
    value: { type: 'double', nullable: false, min: -1_000, max: 1_000 },
    count: { type: 'integer', nullable: true, min: 0 },
    status: { type: 'text', nullable: true, maxLength: 20, values: ['OK', 'FAILED'] },
    location: { type: 'point', nullable: true },
  },
  // A jsonb column that takes every other field; rules and charts reach it too: engine.rpm.
  extraColumn: 'extra_data',
  // Short ways to one rule: a user who sets value_max to 80 has the rule value > 80.
  shorthands: { value_max: { id: 'value-max', key: 'value', operator: '>' } },
  // The rules that a user begins with; they are the user's to change.
  rules: [
    {
      id: 'failed',
      key: 'status',
      operator: '==',
      threshold: 'FAILED',
      message: '{device_id} has failed',
      severity: 'CRITICAL',
    },
  ],
});
`;
}

export function readmeText({ name, settings }: Place): string {
  return `# ${name}

\`model.ts\` describes the data; change it to yours before you keep any. Run these from the folder of
Pulsegraph. Start it, with data of its own:

    ${settings} bun run src/index.ts

Send a reading, as a device would:

    npx mqtt pub -h 127.0.0.1 -q 1 -t ${name}/ann/device_1/readings \\
      -m "{\\"time\\": $(date +%s), \\"sequence_id\\": 1, \\"value\\": 21.5, \\"status\\": \\"FAILED\\", \\"location\\": {\\"lat\\": 52.5, \\"lon\\": 13.4}}"

Look at it in the dashboard, http://localhost:4000, or ask for it at http://localhost:4000/graphql:

    {
      user(id: "ann") {
        device(deviceId: "device_1") {
          latest { time sequenceId value count status location { latitude longitude } extraData }
        }
        alerts(first: 10) { nodes { ruleId status message } }
      }
    }

Later changes of \`model.ts\` may add: nullable columns, wider ranges, more values, shorthands. The
tables follow at the next start. What takes something away is refused, and docs/models.md tells what
to do then.
`;
}
