import type { GraphQLSchema } from 'graphql';
import type { Model } from '../domain/model.ts';
import { defineAlert } from './alert.ts';
import { defineAlertEvent } from './alert-event.ts';
import { defineBacktest } from './backtest.ts';
import { createBuilder } from './builder.ts';
import { definePageInfo } from './connection.ts';
import { defineDeadLetter } from './dead-letter.ts';
import { defineDevice } from './device.ts';
import { defineIngest } from './ingest.ts';
import { defineIssue } from './issue.ts';
import { definePublishReading } from './publish-reading.ts';
import { defineReading } from './reading.ts';
import { defineResetDeviceClock } from './reset-device-clock.ts';
import { defineRule } from './rule.ts';
import { defineRuleInput } from './rule-input.ts';
import { defineRuleSet } from './rule-set.ts';
import { defineScalars } from './scalars.ts';
import { defineTelemetry } from './telemetry.ts';
import { defineUser } from './user.ts';

/** The schema for a model: its columns become fields, its shorthands fields and arguments. */
export function createSchema(model: Model): GraphQLSchema {
  const builder = createBuilder();
  builder.queryType({});
  builder.mutationType({});
  builder.subscriptionType({});
  defineScalars(builder);
  definePageInfo(builder);
  defineUser(builder);
  defineDevice(builder);
  defineResetDeviceClock(builder);
  defineReading(builder, model);
  defineTelemetry(builder);
  defineIssue(builder);
  defineRule(builder);
  defineRuleInput(builder);
  defineRuleSet(builder, model);
  defineBacktest(builder);
  defineAlert(builder);
  defineAlertEvent(builder);
  defineIngest(builder);
  defineDeadLetter(builder);
  definePublishReading(builder);
  return builder.toSchema();
}
