"""An endpoint: a receiver of events, and which of them it gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.outbox.event import EventType

ROTATION = timedelta(hours=24)
"""For this long after a change of its secret, an endpoint gets signatures made with both."""


class Form(StrEnum):
    """The form of the body."""

    CLOUDEVENTS = "cloudevents"
    """CloudEvents 1.0, structured JSON."""
    SAM = "sam"
    """The public platform's event `event-file-list-uploaded`; only groups that are exported have one."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How long a delivery may take, and the pauses after the first try, the second, and so on, in seconds."""

    connect_seconds: float
    total_seconds: float
    pauses: tuple[float, ...]

    @property
    def tries(self) -> int:
        """How often an event is tried."""
        return len(self.pauses) + 1


PROFILES = {
    "standard": Profile(5.0, 15.0, (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)),
    "atlassian": Profile(5.0, 5.0, (60.0, 60.0, 60.0, 60.0)),
}
"""By name. `standard`: eight tries in 27 hours, as Svix has them (https://docs.svix.com/retries). `atlassian`: five tries
of five seconds each, a minute apart, as Forge Remote has them."""


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A reference to a secret, `env:NAME` or `file:PATH`. It is used until `until`, if that is given."""

    reference: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver. `url` is `https://…`, `sqs://QUEUE` or the ARN of an SNS topic.

    `flows` and `types` are patterns; without any, it gets the events of all Flows, and of all types. `allow_private` are
    private networks that its address may be in. `disabled` says why it gets nothing; empty if it does.
    """

    name: str
    url: str
    created: datetime
    secrets: tuple[SigningSecret, ...] = ()
    flows: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    profile: str = "standard"
    form: Form = Form.CLOUDEVENTS
    include_reasons: bool = False
    allow_private: tuple[str, ...] = ()
    allow_http: bool = False
    disabled: str = ""

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"{self.profile!r} is no profile of this release; it has {', '.join(PROFILES)}")

    def wants_flow(self, flow: FlowName) -> bool:
        """Whether it gets events of a Flow. Those of the whole bucket, whose Flow is empty, go to all."""
        return not flow or not self.flows or any(fnmatchcase(flow, pattern) for pattern in self.flows)

    def wants_type(self, type_: str) -> bool:
        """Whether it gets events of a type."""
        if self.form is Form.SAM and type_ != EventType.GROUP_EXPORTED:
            return False
        return not self.types or any(fnmatchcase(type_, pattern) for pattern in self.types)

    def references(self, now: datetime) -> Iterator[str]:
        """Yield the references to the secrets that sign now, the newest first."""
        return (secret.reference for secret in self.secrets if secret.until is None or now < secret.until)


def ensure_types(endpoint: Endpoint) -> None:
    """ConfigurationError when a pattern fits no type of events, or the endpoint would get none."""
    types = [type_.value for type_ in EventType]
    unknown = [pattern for pattern in endpoint.types if not any(fnmatchcase(type_, pattern) for type_ in types)]
    if unknown:
        raise ConfigurationError(
            f"No type of events matches {', '.join(map(repr, unknown))}. They are {', '.join(types)}."
        )
    if not any(map(endpoint.wants_type, types)):
        raise ConfigurationError(
            f"The format {endpoint.form} has {EventType.GROUP_EXPORTED} alone, and --type leaves it out: nothing would be "
            "delivered."
        )


def rotated(secrets: tuple[SigningSecret, ...], reference: str, now: datetime) -> tuple[SigningSecret, ...]:
    """Return the secrets after a new one was given: the present one signs as well for `ROTATION`."""
    present = [secret for secret in secrets if secret.until is None]
    if any(secret.reference == reference for secret in present):
        return secrets
    return (SigningSecret(reference), *(SigningSecret(secret.reference, now + ROTATION) for secret in present))
