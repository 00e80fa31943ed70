const KAFKA_SEED = 0x9747b28c;

/**
 * The partition of a key, as Kafka's default partitioner has it (murmur2, positive, modulo), so
 * that a device keeps its partition number when its fleet moves to Kafka.
 */
export function partitionOf(key: string, partitions: number): number {
  return (Bun.hash.murmur32v2(key, KAFKA_SEED) & 0x7fffffff) % partitions;
}
