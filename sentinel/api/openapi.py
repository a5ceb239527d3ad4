"""The OpenAPI document, from the same operations that make the routes."""

from collections.abc import Sequence
from typing import Any

from sentinel import __version__
from sentinel.api.operation import Operation, Parameter

PROBLEM = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole API as OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLM-Sentinel",
            "version": __version__,
            "description": "Telemetry in; anomalies, baselines and health out. Errors are problem+json (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM}},
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{operation.path.title()}".translate(str.maketrans("", "", "/{}_-.")),
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {str(status): _answer(status, about) for status, about in operation.answers.items()},
    }
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = {"content": {"application/json": {"schema": operation.body}}}
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    required = {"required": True} if parameter.where == "path" else {}
    return {"name": parameter.name, "in": parameter.where, "description": parameter.about, "schema": parameter.schema, **required}


def _answer(status: int, about: str) -> dict[str, Any]:
    if status >= 400:
        return {"description": about, "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {"description": about}
