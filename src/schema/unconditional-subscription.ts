import { GraphQLError, type ValidationRule } from 'graphql';

const CONDITIONS = ['skip', 'include'];

/**
 * Refuses conditions on the one field of a subscription, as newer drafts of GraphQL do: without it
 * there is nothing to subscribe to, which graphql-js takes for a bug.
 */
export const UnconditionalSubscription: ValidationRule = function UnconditionalSubscription(
  context,
) {
  return {
    Directive(node) {
      const name = node.name.value;
      if (!CONDITIONS.includes(name)) return;
      if (context.getParentType() !== context.getSchema().getSubscriptionType()) return;
      const message = `@${name} may not be on the field of a subscription: leave the operation out instead`;
      context.reportError(new GraphQLError(message, { nodes: node }));
    },
  };
};
