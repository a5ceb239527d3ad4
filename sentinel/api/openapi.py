"""The OpenAPI document, from the same operations that make the routes."""

from collections.abc import Sequence
from typing import Any

import msgspec

from sentinel import __version__
from sentinel.api.operation import Operation, Parameter
from sentinel.core.access import GRANTS, Role, Scope

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key made with `sentinel keys create`"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key as `Authorization: Bearer`"},
}
REFUSALS = {
    401: "No API key, or one that opens nothing",
    403: "The key's role does not have the scope",
    429: "Too many requests; see Retry-After",
}

Shown = dict[type[msgspec.Struct], dict[str, Any]]
"""The schema of each type, most of them a reference to the components."""


class Problem(msgspec.Struct):
    """An error as RFC 9457 describes it; some carry more, such as the `errors` of events."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


def document(operations: Sequence[Operation], *, keys_required: bool) -> dict[str, Any]:
    """The whole API as OpenAPI 3.1.

    Args:
        operations: all of it.
        keys_required: whether callers without a key are turned away; else the document says that a key may be left out.
    """
    used = [kind for operation in operations for kind in (operation.result, operation.body)]
    types: list[type[msgspec.Struct]] = [Problem, *(kind for kind in used if isinstance(kind, type))]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    shown: Shown = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = {
            **_described(operation, shown),
            **_security(operation.scope, required=keys_required),
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLM-Sentinel",
            "version": __version__,
            "description": "Telemetry in; anomalies, baselines and health out. Errors are problem+json (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SCHEMES},
    }


def _security(scope: Scope, *, required: bool) -> dict[str, Any]:
    """What a caller needs: one of the schemes with this scope."""
    if scope is Scope.PUBLIC:
        return {"security": []}
    roles = ", ".join(role for role in Role if scope in GRANTS[role])
    schemes: list[dict[str, list[str]]] = [{name: [scope.value]} for name in SCHEMES]
    return {
        "security": schemes if required else [*schemes, {}],
        "description": f"Needs the scope `{scope}`, which these roles have: {roles}.",
    }


def _described(operation: Operation, shown: Shown) -> dict[str, Any]:
    answers = operation.answers if operation.scope is Scope.PUBLIC else REFUSALS | operation.answers
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{operation.path.title()}".translate(str.maketrans("", "", "/{}_-.")),
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {str(status): _answer(status, about, operation, shown) for status, about in sorted(answers.items())},
    }
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        schema = shown[operation.body] if isinstance(operation.body, type) else operation.body
        described["requestBody"] = {"content": {kind: {"schema": schema} for kind in operation.body_types}}
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    required = {"required": True} if parameter.where == "path" else {}
    return {"name": parameter.name, "in": parameter.where, "description": parameter.about, "schema": parameter.schema, **required}


def _answer(status: int, about: str, operation: Operation, shown: Shown) -> dict[str, Any]:
    if operation.result is not None and (status < 400 or operation.tag == "health"):
        return {"description": about, "content": {"application/json": {"schema": shown[operation.result]}}}
    if status >= 400:
        return {"description": about, "content": {"application/problem+json": {"schema": shown[Problem]}}}
    return {"description": about}
