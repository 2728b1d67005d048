"""A coordinator is ready once it is in its group, and has folded what it was assigned."""

from __future__ import annotations

from aiokafka import TopicPartition

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.messages import Topics
from starlings.service import KafkaPorts
from starlings_coordinator.commits import Start
from starlings_coordinator.partition import Partition
from starlings_coordinator.service import Coordinator
from starlings_coordinator.settings import CoordinatorSettings


async def test_it_is_not_ready_while_a_partition_is_being_restored(tmp_path):
    connection = Connection(KafkaSettings(bootstrap="127.0.0.1:9"))
    codec = Codec(source="test", blobs=BlobStore(tmp_path.as_uri()))
    ports = KafkaPorts(connection, codec, Publisher(connection, codec), Topics())
    coordinator = Coordinator(ports, settings=CoordinatorSettings())
    assert coordinator.not_ready() == "not in its group yet"

    place = TopicPartition(Topics().events, 3)
    partition = Partition(place, coordinator._around, start=Start(0, 0), end=7)
    coordinator._joined = True
    coordinator.partitions[place] = partition
    assert coordinator.not_ready() == "restoring partitions [3]"

    partition.ledger.finish_recovery()
    assert coordinator.not_ready() is None
