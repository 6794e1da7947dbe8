"""What the fields of a JSON object must be, before they become our own types: strangers wrote them."""

from collections.abc import Mapping
from typing import Any

from qtt.errors import ConfigError

Kinds = Mapping[str, type | tuple[type, ...]]
"""Fields of an object by name, and what each may be."""

WORDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def check_fields(data: object, kinds: Kinds, whose: str) -> dict[str, Any]:
    """The object, whose fields of these names are of these kinds where they are there.

    A whole number is a number, and true is none.

    Raises:
        ConfigError: it is no object, or a field is something else; says which, and what was expected.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{whose} is {_shown(data)}. Expected an object.")
    for name, kind in kinds.items():
        allowed = kind if isinstance(kind, tuple) else (kind,)
        if name in data and not _is(data[name], allowed):
            expected = " or ".join(WORDS[one] for one in allowed)
            raise ConfigError(f"{whose} has {name}={_shown(data[name])}. Expected {expected}.")
    return dict(data)


def check_items(values: object, kind: type, whose: str) -> list[Any]:
    """The list, whose items are all of a kind.

    Raises:
        ConfigError: it is no list, or an item is something else.
    """
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{whose} is {_shown(values)}. Expected a list.")
    for place, value in enumerate(values):
        if not _is(value, (kind,)):
            raise ConfigError(f"{whose}[{place}] is {_shown(value)}. Expected {WORDS[kind]}.")
    return list(values)


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    if isinstance(value, Mapping):
        return dict in kinds
    return (isinstance(value, tuple) and list in kinds) or isinstance(value, kinds)


def _shown(value: object) -> str:
    return repr(value)[:60]
