"""Finish reasons of all providers as a few categories, so that a mix can be compared and no producer can invent a thousand of them.

Sources: the finish reasons that OpenAI, Anthropic, Google, Mistral, Cohere and Amazon document for their chat interfaces.
"""

import re
from functools import lru_cache
from typing import Final

CATEGORIES: Final = ("none", "stop", "length", "tool", "refused", "error", "other")
"""What a mix of finish reasons is made of; `none` = not given."""

NONE, STOP, LENGTH, TOOL, REFUSED, ERROR, OTHER = range(len(CATEGORIES))

_WORDS: Final = {
    STOP: "stop stop_sequence end_turn complete completed finished eos eos_token normal pause_turn",
    LENGTH: "length max_tokens max_output_tokens model_length token_limit error_limit model_context_window_exceeded",
    TOOL: "tool_calls tool_call tool_use function_call malformed_function_call",
    REFUSED: "content_filter content_filtered refusal refused safety recitation blocklist prohibited_content spii error_toxic "
    "image_safety guardrail_intervened language",
    ERROR: "error failed failure cancelled canceled aborted timeout",
}
_CATEGORY: Final = {word: category for category, words in _WORDS.items() for word in words.split()}
_FIRST_WORD: Final = re.compile(r"[a-z_]+")


@lru_cache(4096)
def category(reason: str | None) -> int:
    r"""The category of a finish reason as a provider wrote it; of a list, the first one's.

    >>> [CATEGORIES[category(reason)] for reason in ("STOP", '["tool_calls"]', "content-filter", "max_tokens", "new", None)]
    ['stop', 'tool', 'refused', 'length', 'other', 'none']
    """
    if reason is None:
        return NONE
    word = _FIRST_WORD.search(reason.lower().replace("-", "_"))
    return OTHER if word is None else _CATEGORY.get(word[0], OTHER)
