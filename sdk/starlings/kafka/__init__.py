"""Everything that touches Kafka: connections, codec, publishing, the parallel consumer, topics."""
