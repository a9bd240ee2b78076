"""What of each noun is served: bodies, roles, acts. One file a noun, as in the store."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.web.nouns.admins import ADMIN_RESOURCE, TOKEN_RESOURCE
from pharos.helm.web.nouns.adoptions import ADOPTION_RESOURCE
from pharos.helm.web.nouns.alerts import ALERT_MUTE_RESOURCE, ALERT_RESOURCE, ALERT_TARGET_RESOURCE
from pharos.helm.web.nouns.certificates import CERTIFICATE_RESOURCE
from pharos.helm.web.nouns.devices import DEVICE_RESOURCE
from pharos.helm.web.nouns.nodes import NODE_RESOURCE
from pharos.helm.web.nouns.onboardings import ONBOARDING_RESOURCE
from pharos.helm.web.nouns.pools import POOL_RESOURCE
from pharos.helm.web.nouns.profiles import PROFILE_RESOURCE
from pharos.helm.web.nouns.relays import RELAY_RESOURCE
from pharos.helm.web.nouns.sinks import SINK_RESOURCE
from pharos.helm.web.nouns.tickets import TICKET_RESOURCE
from pharos.helm.web.nouns.users import GROUP_RESOURCE, USER_RESOURCE
from pharos.helm.web.resources import Resource

RESOURCES: Final[tuple[Resource[Any], ...]] = (
    USER_RESOURCE,
    GROUP_RESOURCE,
    ADMIN_RESOURCE,
    TOKEN_RESOURCE,
    ALERT_RESOURCE,
    ALERT_TARGET_RESOURCE,
    ALERT_MUTE_RESOURCE,
    NODE_RESOURCE,
    RELAY_RESOURCE,
    DEVICE_RESOURCE,
    TICKET_RESOURCE,
    PROFILE_RESOURCE,
    CERTIFICATE_RESOURCE,
    POOL_RESOURCE,
    ADOPTION_RESOURCE,
    SINK_RESOURCE,
    ONBOARDING_RESOURCE,
)
