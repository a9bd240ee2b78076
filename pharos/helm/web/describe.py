"""The API's description, OpenAPI 3.1, as quart-schema makes it of our routes; what it leaves out is added here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from quart_schema.openapi import OpenAPIProvider
from quart_schema.validation import QUART_SCHEMA_REQUEST_ATTRIBUTE, QUART_SCHEMA_RESPONSE_ATTRIBUTE
from werkzeug.routing.rules import Rule

_REFERENCE: Final = "#/components/schemas/{name}"


class Provider(OpenAPIProvider):
    """Adds the shapes that other shapes refer to, ids of operations, empty answers and the media type of problems."""

    def schema(self) -> dict[str, Any]:
        """Return the whole document."""
        document = super().schema()
        models = {model for rule in self.generate_rules() for model in self._models(rule)}
        _, components = msgspec.json.schema_components(sorted(models, key=str), ref_template=_REFERENCE)
        document["components"]["schemas"].update(components)
        return document

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the document says of one rule."""
        paths, components = super().build_paths(rule)
        noun, _, verb = str(rule.endpoint).rpartition(".")
        for operations in paths.values():
            for operation in operations.values():
                operation["operationId"] = f"{noun}.{verb}" if noun else verb
                responses = operation["responses"]
                for status, response in responses.items():
                    if int(status) >= 400:
                        response["content"] = {"application/problem+json": response["content"]["application/json"]}
                if not any(int(status) < 300 for status in responses):
                    responses[204] = {"description": "Done; there is nothing to say."}
        return paths, components

    def _models(self, rule: Rule) -> list[Any]:
        function: Callable[..., Any] = self._app.view_functions[rule.endpoint]
        models = [model for model, _ in getattr(function, QUART_SCHEMA_RESPONSE_ATTRIBUTE, {}).values()]
        if (request := getattr(function, QUART_SCHEMA_REQUEST_ATTRIBUTE, None)) is not None:
            models.append(request[0])
        return models
