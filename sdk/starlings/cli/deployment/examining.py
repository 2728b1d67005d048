"""The checks of a deployment in the order in which they are needed; none stops the others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from aiokafka.errors import KafkaError

from starlings.agents.registry_view import registry_view
from starlings.blobs import BlobStore
from starlings.cli.checkup import Finding, Verdict
from starlings.cli.reach import connection, patience_s
from starlings.cli.topic_names import wanted_topics
from starlings.kafka.codec import Codec
from starlings.messages import ConfigError, StarlingsError
from starlings.service import ServiceSettings, load_settings

from .looking import Looking, Scene
from .rights import rights
from .runs import dead_letters, not_undone, stuck_runs
from .services import clocks, groups, versions
from .topics import copies, settings_of_topics

Check = Callable[[Scene], AsyncGenerator[Finding]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("topics", settings_of_topics),
    ("copies", copies),
    ("rights", rights),
    ("groups", groups),
    ("versions", versions),
    ("clocks", clocks),
    ("runs", stuck_runs),
    ("undoing", not_undone),
    ("dead letters", dead_letters),
)


async def examine_deployment(looking: Looking) -> AsyncGenerator[Finding]:
    """Look at everything."""
    try:
        kafka = connection()
        await kafka.connect(patience_s())
        scene = await _scene(looking)
    except (StarlingsError, KafkaError, TimeoutError) as error:
        yield Finding("kafka", Verdict.FAIL, _said(error))
        return
    said = f"answers on {kafka.bootstrap}; prefix {scene.topics.prefix}"
    yield Finding("kafka", Verdict.OK, said)
    for what, check in CHECKS:
        try:
            async for finding in check(scene):
                yield finding
        except ConfigError as error:
            yield Finding(what, Verdict.FAIL, str(error))
        except (StarlingsError, KafkaError, TimeoutError, OSError) as error:
            yield Finding(what, Verdict.FAIL, f"cannot be told: {_said(error)}", "run this again")


async def _scene(looking: Looking) -> Scene:
    settings = load_settings(ServiceSettings)
    topics = settings.topics
    wanted = await wanted_topics([])
    kafka = wanted.connection
    if topics.agents not in await kafka.topic_names():
        raise ConfigError(
            f"there is no topic {topics.agents}: no installation has the prefix {topics.prefix}, "
            "or this user may not see it; set STARLINGS_TOPIC_PREFIX, or run "
            "`starlings topics ensure`"
        )
    codec = Codec(source="starlings/doctor", blobs=BlobStore(settings.blobs_url))
    async with registry_view(kafka, codec, topics) as registry:
        return Scene(kafka, codec, topics, wanted.specs, registry, looking)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, StarlingsError) else repr(error)
