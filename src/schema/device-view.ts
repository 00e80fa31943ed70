import { GraphQLError, isIntrospectionType, type ValidationRule } from 'graphql';

/**
 * What a device's token may ask; every other type and field does not exist for it, also one that is
 * added later. Null is a whole type: what it leads to is listed by itself.
 */
const SEEN: Record<string, readonly string[] | null> = {
  Query: ['myDevice'],
  Mutation: ['publishReading'],
  Subscription: ['readings'],
  Device: [
    'id',
    'deviceId',
    'user',
    'firstSeenAt',
    'lastSeenAt',
    'latest',
    'readings',
    'telemetry',
  ],
  User: ['id'],
  Reading: null,
  ReadingConnection: null,
  ReadingEdge: null,
  PageInfo: null,
  TelemetrySeries: null,
  TelemetryPoint: null,
};

/** Refuses, as a schema without them would, the fields that a device may not ask. */
export const OnlyWhatADeviceMaySee: ValidationRule = function OnlyWhatADeviceMaySee(context) {
  return {
    Field(node) {
      const type = context.getParentType();
      const field = node.name.value;
      if (!type || isIntrospectionType(type) || field.startsWith('__')) return;
      const fields = Object.hasOwn(SEEN, type.name) ? SEEN[type.name] : [];
      if (fields === null || fields?.includes(field)) return;
      const place = `"${field}" on type "${type.name}"`;
      const message = `Cannot query field ${place}: a device asks for itself only.`;
      context.reportError(new GraphQLError(message, { nodes: node }));
    },
  };
};
