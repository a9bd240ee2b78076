"""The builder of packages, which the journeys' first page calls, is found by whoever has imported this."""

import tests.packaging.built  # noqa: F401 -- puts the builder's modules on the path
