import { type GraphQLResolveInfo, Kind, type SelectionSetNode } from 'graphql';

/** What an event knows of its alert for good. */
const OF_ALERT = new Set(['id', 'ruleId', 'user', 'device', '__typename']);
const OF_DEVICE = new Set(['id', 'deviceId', 'user', '__typename']);

/** Whether of an alert only names are asked for: then it need not be read. */
export function asksForNamesOnly({ fieldNodes, fragments }: GraphQLResolveInfo): boolean {
  const within = (set: SelectionSetNode | undefined, names: ReadonlySet<string>): boolean =>
    (set?.selections ?? []).every((selection) => {
      if (selection.kind === Kind.FRAGMENT_SPREAD) {
        return within(fragments[selection.name.value]?.selectionSet, names);
      }
      if (selection.kind === Kind.INLINE_FRAGMENT) return within(selection.selectionSet, names);
      const name = selection.name.value;
      if (!names.has(name)) return false;
      return name !== 'device' || within(selection.selectionSet, OF_DEVICE);
    });
  return fieldNodes.every(({ selectionSet }) => within(selectionSet, OF_ALERT));
}
