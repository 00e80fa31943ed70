import type { GraphQLSchema } from 'graphql';
import type { Model } from '../domain/model.ts';
import { defineAlert } from './alert.ts';
import { defineAlertEvent } from './alert-event.ts';
import { defineAlertLists } from './alert-lists.ts';
import { defineAlertOperation } from './alert-operation.ts';
import { defineBacktest } from './backtest.ts';
import { createBuilder } from './builder.ts';
import { definePageInfo } from './connection.ts';
import { defineDeadLetter } from './dead-letter.ts';
import { defineDevice } from './device.ts';
import { defineExplainRules } from './explain-rules.ts';
import { defineIngest } from './ingest.ts';
import { defineIssue } from './issue.ts';
import { definePublishReading } from './publish-reading.ts';
import { defineReading } from './reading.ts';
import { defineResetDeviceClock } from './reset-device-clock.ts';
import { defineRule } from './rule.ts';
import { defineRuleChange } from './rule-change.ts';
import { defineRuleInput } from './rule-input.ts';
import { defineRuleSet } from './rule-set.ts';
import { defineRuleSwitch } from './rule-switch.ts';
import { defineScalars } from './scalars.ts';
import { defineTelemetry } from './telemetry.ts';
import { defineUser } from './user.ts';

/** The schema for a model: its columns become fields, its shorthands fields and arguments. */
export function createSchema(model: Model): GraphQLSchema {
  const builder = createBuilder();
  builder.queryType({ description: 'What is stored, and how things stand.' });
  builder.mutationType({ description: 'Each change is whole or not at all, one after the other.' });
  builder.subscriptionType({
    description: 'What happens from now on, over WebSocket or server-sent events.',
  });
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
  defineRuleChange(builder, model);
  defineBacktest(builder);
  defineAlert(builder);
  defineAlertLists(builder);
  defineAlertEvent(builder);
  defineExplainRules(builder);
  defineAlertOperation(builder);
  defineRuleSwitch(builder);
  defineIngest(builder);
  defineDeadLetter(builder);
  definePublishReading(builder);
  return builder.toSchema();
}
