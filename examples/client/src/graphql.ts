import { initGraphQLTada } from 'gql.tada';
import type { introspection } from './graphql-env.d.ts';

/** Makes typed documents: what is not in the schema is an error of the compiler. */
export const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: {
    /** RFC 3339, in UTC. */
    DateTime: string;
    /** ISO 8601. */
    Duration: string;
    /** IANA name. */
    TimeZone: string;
    JSON: unknown;
    SafeInt: number;
  };
}>();

export type { ResultOf, VariablesOf } from 'gql.tada';
