import { apiError } from './errors.ts';

/** What a request sends of its document. */
export interface DocumentParams {
  query?: string | null;
  documentId?: unknown;
  /** Apollo's clients name a document here. */
  extensions?: { persistedQuery?: { sha256Hash?: unknown } } | null;
}

export interface Documents {
  /**
   * The text of the document that a request is about; undefined where it names and holds none.
   *
   * @throws NOT_FOUND for an id that is not on the list, BAD_USER_INPUT where only that is taken
   */
  textOf(params: DocumentParams): string | undefined;
}

/** @param only takes nothing that is not on the list */
export function createDocuments(list: Record<string, string>, only: boolean): Documents {
  const byId = new Map(Object.entries(list));
  const texts = new Set(byId.values());
  return {
    textOf({ query, documentId, extensions }) {
      const id = documentId ?? extensions?.persistedQuery?.sha256Hash ?? null;
      // Whatever else was sent, no object gets to say how it is written.
      const name = typeof id === 'string' ? id : JSON.stringify(id);
      const known = id === null ? undefined : (byId.get(name) ?? byId.get(withoutScheme(name)));
      if (known !== undefined) return known;
      if (query && (!only || texts.has(query))) return query;
      if (id !== null) {
        const named = JSON.stringify(name.slice(0, 100));
        const message = `there is no document ${named} in PERSISTED_DOCUMENTS`;
        throw apiError('NOT_FOUND', message, { http: { status: 400 } });
      }
      if (!only || !query) return undefined;
      throw apiError(
        'BAD_USER_INPUT',
        'only the documents of PERSISTED_DOCUMENTS are taken here: send the documentId of one',
        { http: { status: 400 } },
      );
    },
  };
}

/** `sha256:abc` as the draft of GraphQL over HTTP writes an id that codegen's file has as `abc`. */
function withoutScheme(id: string): string {
  return id.replace(/^sha256:/, '');
}
