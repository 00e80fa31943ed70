import { type ColumnValues, defineModel } from './domain/model.ts';

/** The stream: devices with a temperature and a battery; whatever else they send is kept too. */
export const model = defineModel({
  table: 'raw_telemetry',
  topic: 'users/{user_id}/devices/{device_id}/telemetry',
  columns: {
    temperature: { type: 'double', nullable: true, min: -500, max: 10_000 },
    battery: { type: 'integer', nullable: true, min: 0, max: 100 },
  },
  extraColumn: 'extra_data',
  shorthands: {
    temperature_max: { id: 'temperature-max', key: 'temperature', operator: '>' },
  },
});

/** A reading's declared columns under this model. */
export type Telemetry = ColumnValues<typeof model.columns>;
