import { type Broker, type Cluster, PartitionAssigners } from 'kafkajs';
import type { Logger } from 'pino';

/** Sends the goodbye of a consumer that could not, as its coordinator was away. */
export interface KafkaGhost {
  /** For the consumer that is built: kafkajs shows the cluster to nothing else. */
  assigner: typeof PartitionAssigners.roundRobin;
  /** The consumer is this member now. */
  joined(memberId: string): void;
  /** Before the next consumer joins. Rejects while there is no coordinator to tell. */
  leave(): Promise<void>;
}

/** In kafkajs, but not in its types. */
type LeavingBroker = Broker & {
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
};

/**
 * A coordinator that has moved takes over the members of the group, and lets nobody in before each
 * of them has joined again or its session has ended. kafkajs gives its membership up when it loses
 * the coordinator, so the whole group would wait for the sessions of members that are no more.
 */
export function createKafkaGhost(options: { groupId: string; logger: Logger }): KafkaGhost {
  const { groupId, logger } = options;
  let memberId: string | null = null;
  let cluster: Cluster | null = null;

  return {
    assigner(config) {
      cluster = config.cluster;
      return PartitionAssigners.roundRobin(config);
    },
    joined(joining) {
      memberId = joining;
    },
    async leave() {
      if (memberId === null || cluster === null) return;
      const coordinator = (await cluster.findGroupCoordinator({ groupId })) as LeavingBroker;
      try {
        await coordinator.leaveGroup({ groupId, memberId });
      } catch (error) {
        // As of a coordinator that has just been found, and is still reading what it takes over.
        if ((error as { retriable?: boolean }).retriable) throw error;
        // Mostly UNKNOWN_MEMBER_ID: it has left.
        logger.debug({ err: error, memberId }, 'the former member of the group is not there');
      }
      memberId = null;
    },
  };
}
