import { defineModel } from '../../src/domain/model.ts';

/** Packages on their way to customers: what was scanned, where, and how it is with them. */
export const model = defineModel({
  table: 'package_events',
  topic: 'customers/{customer_id}/packages/{package_id}/events',
  owner: { column: 'customer_id' },
  device: { column: 'package_id' },
  columns: {
    status: {
      type: 'text',
      nullable: false,
      maxLength: 32,
      values: ['ACCEPTED', 'IN_TRANSIT', 'DELAYED', 'DELIVERED'],
    },
    location: { type: 'point', nullable: true },
    weight_kg: { type: 'double', nullable: true, min: 0, max: 1_000 },
  },
  extraColumn: 'extra_data',
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
