"""Profiles, as REST serves them: what helm knows of each device's sealed profile. What is in it, helm cannot read."""

from __future__ import annotations

from pharos.helm.model.profiles import Profile
from pharos.helm.store.bundles import PROFILES
from pharos.helm.web.resources import Resource

PROFILE_RESOURCE: Resource[Profile] = Resource(noun=PROFILES)
