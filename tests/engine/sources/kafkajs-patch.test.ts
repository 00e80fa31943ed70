import '../../../src/engine/sources/kafkajs-patch.ts';
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { logLevel } from 'kafkajs';
// @ts-expect-error: not in its types
import { createLogger } from 'kafkajs/src/loggers/index.js';
// @ts-expect-error: not in its types
import Connection from 'kafkajs/src/network/connection.js';
// @ts-expect-error: not in its types
import socketFactory from 'kafkajs/src/network/socketFactory.js';
// @ts-expect-error: not in its types
import apiVersions from 'kafkajs/src/protocol/requests/apiVersions/index.js';

/** Takes requests, answers none, and hangs up when we do. */
let silent: Server;
beforeAll(async () => {
  silent = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await once(silent, 'listening');
});
afterAll(() => {
  silent.close();
});

test('a request that is made while its connection is being closed has an end', async () => {
  for (let turns = 0; turns < 16; turns++) {
    const connection = new Connection({
      host: '127.0.0.1',
      port: (silent.address() as AddressInfo).port,
      logger: createLogger({ level: logLevel.NOTHING, logCreator: () => () => {} }),
      socketFactory: socketFactory(),
      connectionTimeout: 5_000,
      requestTimeout: 100,
      enforceRequestTimeout: true,
    });
    await connection.connect();
    const answer = connection
      .send(apiVersions.protocol({ version: 0 })())
      .catch((error: Error) => error.name);
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    const closed = connection.disconnect();
    const end = await Promise.race([answer, Bun.sleep(3_000).then(() => `none, ${turns}`)]);
    expect(end).toStartWith('KafkaJS');
    await closed;
  }
}, 60_000);
