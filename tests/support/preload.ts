import { afterAll } from 'bun:test';
import { stopTestKafka } from './kafka.ts';
import { stopTestServer } from './postgres.ts';

// In a preloaded file this runs once, after the last test file.
afterAll(stopTestServer, 30_000);
afterAll(stopTestKafka, 30_000);
