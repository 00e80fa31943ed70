import { defineModel } from '../../src/domain/model.ts';

/** Packages of customers on their way: what was scanned where, and how they are. */
export const model = defineModel({
  table: 'package_events',
  topic: 'customers/{customer_id}/packages/{package_id}/events',
  owner: { column: 'customer_id' },
  device: { column: 'package_id' },
  columns: {
    status: { type: 'text', nullable: false, maxLength: 32 },
    weight_kg: { type: 'double', nullable: true, min: 0, max: 10_000 },
  },
  extraColumn: 'extra_data',
  shorthands: {},
  rules: [
    {
      id: 'delayed',
      key: 'status',
      operator: '==',
      threshold: 'DELAYED',
      message: 'Package {device_id} is delayed',
    },
  ],
});
