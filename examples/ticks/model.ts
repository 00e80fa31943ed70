import { defineModel } from '../../src/domain/model.ts';

/** Prices of a market: one tick a symbol and moment, all of one owner. */
export const model = defineModel({
  table: 'ticks',
  topic: 'ticks/{symbol}',
  owner: { constant: 'market' },
  device: { column: 'symbol' },
  sequence: null,
  columns: {
    price: { type: 'double', nullable: false, min: 0 },
    volume: { type: 'integer', nullable: true, min: 0 },
  },
  extraColumn: 'extra_data',
  rules: [
    {
      id: 'acme-floor',
      key: 'price',
      operator: '<',
      threshold: 10,
      devices: 'ACME',
      message: '{device_id} fell to {value}, below {threshold}',
    },
    {
      id: 'globex-floor',
      key: 'price',
      operator: '<',
      threshold: 250,
      devices: 'GLOBEX',
      message: '{device_id} fell to {value}, below {threshold}',
    },
  ],
});
