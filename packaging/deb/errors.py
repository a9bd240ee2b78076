"""Why a package cannot be built."""


class PackagingError(Exception):
    """No package was built; the message says what to do."""


class NotCachedError(PackagingError):
    """Wheels would have to be downloaded, and this build is not to ask a registry."""
