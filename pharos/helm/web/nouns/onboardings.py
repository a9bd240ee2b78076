"""Onboardings that helm carries out, as REST serves them; what is done about one is `pharos.helm.web.onboard`."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.admins import Role
from pharos.helm.model.onboardings import Onboarding
from pharos.helm.store.onboardings import ONBOARDINGS
from pharos.helm.web.resources import Resource

ONBOARDING_RESOURCE: Final[Resource[Onboarding]] = Resource(noun=ONBOARDINGS, reads=Role.ADMIN)
