/**
 * What a publisher remembers of its broadcasts. They come back to it on the topic that they go to:
 * this keeps an answer to one from being answered in turn, for ever.
 */
export interface BroadcastMemory {
  /** Before a version is sent. */
  sending(userId: string, version: number): void;
  /** Nobody knows whether it arrived. */
  failed(userId: string): void;
  /**
   * What the broadcast that came back is: the newest sent; one that a newer one, still to come
   * back, takes the place of; or one that may be standing where the newest should.
   */
  cameBack(userId: string, version: number): 'newest' | 'overtaken' | 'unknown';
  /**
   * Not any more once a user's broadcast was restored too often: something else keeps replacing it.
   * That is `no` once a minute, to be told, and `no again` from then on.
   */
  mayRestore(userId: string, nowMs?: number): 'yes' | 'no' | 'no again';
}

/** Users remembered; one that is forgotten costs a query. */
const MAX_USERS = 20_000;
const RESTORES = 30;
const RESTORES_WITHIN_MS = 60_000;

export function createBroadcastMemory(): BroadcastMemory {
  const sent = new Map<string, { version: number; isBack: boolean }>();
  const restored = new Map<string, number>();
  let windowStartMs = Number.NEGATIVE_INFINITY;

  return {
    sending(userId, version) {
      const known = sent.get(userId);
      // An older one that is sent later, as two do it at once, doesn't hide that it is old.
      if (known !== undefined && known.version > version) return;
      sent.delete(userId);
      if (sent.size >= MAX_USERS) sent.delete(sent.keys().next().value as string);
      sent.set(userId, { version, isBack: false });
    },
    failed(userId) {
      sent.delete(userId);
    },
    cameBack(userId, version) {
      const known = sent.get(userId);
      if (known === undefined) return 'unknown';
      if (known.version === version) {
        known.isBack = true;
        return 'newest';
      }
      return known.isBack || version > known.version ? 'unknown' : 'overtaken';
    },
    mayRestore(userId, nowMs = performance.now()) {
      if (nowMs - windowStartMs > RESTORES_WITHIN_MS) {
        windowStartMs = nowMs;
        restored.clear();
      }
      const times = (restored.get(userId) ?? 0) + 1;
      restored.set(userId, times);
      if (times <= RESTORES) return 'yes';
      return times === RESTORES + 1 ? 'no' : 'no again';
    },
  };
}
