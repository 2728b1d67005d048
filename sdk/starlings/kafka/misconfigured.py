"""Which failures to join a group no patience will mend, and what to change."""

from __future__ import annotations

from aiokafka import errors

from starlings.messages import ConfigError

_REMEDIES: dict[type[BaseException], str] = {
    errors.GroupAuthorizationFailedError: "allow the principal READ on the group {group_id!r}",
    errors.TopicAuthorizationFailedError: "allow the principal READ on the topic {topic!r}",
    errors.UnknownTopicOrPartitionError: (
        "the topic {topic!r} does not exist; create it with: starlings topics ensure"
    ),
    errors.InvalidGroupIdError: (
        "Kafka refuses the group id {group_id!r}; change STARLINGS_TOPIC_PREFIX"
    ),
    errors.InconsistentGroupProtocolError: (
        "members of the group {group_id!r} use another assignor: stop them, or change"
        " STARLINGS_TOPIC_PREFIX"
    ),
    errors.InvalidSessionTimeoutError: (
        "STARLINGS_SESSION_TIMEOUT_S lies outside of the broker's group.min.session.timeout.ms and"
        " group.max.session.timeout.ms"
    ),
}


def refuse_if_misconfigured(failure: BaseException | None, *, topic: str, group_id: str) -> None:
    """Raise `ConfigError` where joining failed for a reason that only settings can mend."""
    for kind, remedy in _REMEDIES.items():
        if isinstance(failure, kind):
            text = remedy.format(topic=topic, group_id=group_id)
            raise ConfigError(f"cannot consume {topic!r}: {text} ({failure!r})") from failure
