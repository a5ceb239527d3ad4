"""The base of all configuration sections, and the types their keys share."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MetricName = Literal[
    "latency_ms", "ttft_ms", "time_per_output_token_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "error"
]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change after loading, errors never show what was given."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def _plain_url(url: str) -> str:
    """The URL, when it parses and carries no credentials: a URL is shown in logs and by `config show`."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise PydanticCustomError("bad_url", "is not a URL") from None
    if not parts.scheme or not parts.hostname:
        raise PydanticCustomError("bad_url", "is not a URL with a scheme and a host")
    if "@" in parts.netloc:
        raise PydanticCustomError("url_credentials", "holds credentials, and URLs are shown in logs")
    return url


Url = Annotated[str, AfterValidator(_plain_url)]
