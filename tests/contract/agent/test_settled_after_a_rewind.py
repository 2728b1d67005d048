"""Results in the log, and a rewind of the group: those from before it count no more."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from starlings.agents.settled import Settled
from starlings.kafka.parallel import Inheritance
from starlings.kafka.publisher import Publisher
from starlings.messages import StepDone, StepOutcome, StepReady, attempt_id, run_key, step_key

pytestmark = pytest.mark.kafka

WORK = StepReady(run_id="r", step_id="s", attempt=1, agent="math")
DONE = StepDone(run_id="r", step_id="s", attempt=1, agent="math", outcome=StepOutcome.OK)
ID = attempt_id("r", "s", 1, StepDone.NAME)


async def test_a_result_counts_only_where_it_came_after_the_rewind(plain_site):
    events = await plain_site.create("events", message_timestamp_type="LogAppendTime")
    steps = await plain_site.create("steps.math")
    publisher = Publisher(plain_site.connection, plain_site.codec)
    await publisher.start()
    try:
        place = await publisher.publish(
            steps, step_key("r", "s"), WORK, id=attempt_id("r", "s", 1, WORK.NAME), subject="r"
        )
        await publisher.publish(events, run_key("r"), DONE, id=ID, subject="r")
        record = await plain_site.connection.record_at(place.topic_partition, place.offset)
        work = await plain_site.codec.decode(record)
        result = await plain_site.connection.record_at(TopicPartition(events, 0), 0)
        inherited = Inheritance(end=1, since_ms=0, serial=1)
        marked = inherited._replace(rewound_ms=result.timestamp + 1)

        async def knows(inheritance: Inheritance) -> bool:
            settled = Settled(plain_site.connection, events, lambda _: inheritance)
            return await settled.knows(work)

        assert await knows(inherited)
        assert not await knows(marked)

        await publisher.publish(events, run_key("r"), DONE, id=ID, subject="r")  # done again
        again = await plain_site.connection.record_at(TopicPartition(events, 0), 1)
        assert await knows(inherited._replace(rewound_ms=again.timestamp))
    finally:
        await publisher.stop()
