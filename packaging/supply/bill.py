"""A bill of materials: what is in a thing that we hand out, for programs, as CycloneDX 1.6.

Equal parts and an equal date give equal bytes: the serial number is made of them. What is written has been checked
against the format's own schema.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Final

import attrs
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from deb.errors import PackagingError
from packageurl import PackageURL
from supply.parts import Part

VERSION: Final = SchemaVersion.V1_6
OURS: Final = "AGPL-3.0-or-later"
# Any would do, as long as it stays the same (RFC 9562, 5.5).
_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "bill.pharosvpn.invalid")
_ALGORITHMS: Final = {"SHA-256": HashAlgorithm.SHA_256, "SHA-512": HashAlgorithm.SHA_512}


@attrs.frozen(kw_only=True)
class Subject:
    """The thing that a bill is about, or a thing of ours that is inside another."""

    kind: str
    """``pypi`` or ``deb``, as in a package URL."""
    name: str
    version: str
    arch: str | None = None
    """Of a .deb."""

    @property
    def url(self) -> PackageURL:
        qualifiers = {"arch": self.arch} if self.arch else None
        return PackageURL(self.kind, name=self.name, version=self.version, qualifiers=qualifiers)

    def component(self) -> Component:
        return Component(
            type=ComponentType.APPLICATION,
            name=self.name,
            version=self.version,
            purl=self.url,
            bom_ref=self.url.to_string(),
            licenses=[LicenseExpression(OURS)],
        )


def render(subject: Subject, parts: Sequence[Part], epoch: int, *, inside: Sequence[Subject] = ()) -> str:
    """Return the bill of a thing as JSON; ``inside`` are things of ours that it carries, ``epoch`` is its date.

    Raises: PackagingError — what would be written is no CycloneDX.
    """
    top = subject.component()
    bom = Bom(serial_number=_serial(subject, parts, epoch, inside))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    bom.metadata.component = top
    components = [*map(_component, parts), *(one.component() for one in inside)]
    bom.components.update(components)
    bom.register_dependency(top, components)
    text: str = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2) + "\n"
    if (fault := JsonStrictValidator(VERSION).validate_str(text)) is not None:
        raise PackagingError(f"the bill of {subject.name} is no CycloneDX {VERSION.to_version()}: {fault.data}")
    return text


def _component(part: Part) -> Component:
    scope, _, name = part.name.rpartition("/")
    url = PackageURL(part.kind, namespace=scope or None, name=name, version=part.version)
    return Component(
        type=ComponentType.LIBRARY,
        group=scope or None,
        name=name,
        version=part.version,
        purl=url,
        bom_ref=url.to_string(),
        licenses=[LicenseExpression(part.licence)],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(file),
                hashes=[HashType(alg=_ALGORITHMS[algorithm], content=content)],
            )
            for file, algorithm, content in part.files
        ],
    )


def _serial(subject: Subject, parts: Sequence[Part], epoch: int, inside: Sequence[Subject]) -> uuid.UUID:
    return uuid.uuid5(_SPACE, repr((subject, sorted(parts), epoch, list(inside))))
