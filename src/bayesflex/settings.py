"""Setting: what is said about one field of the configuration, and the check of its value.

The fields themselves are in ``config``; nothing here knows any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import Field, dataclass
from numbers import Integral, Real
from typing import Any

from bayesflex.errors import ConfigError

#: Where a field's metadata keeps its Setting.
_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """What is said about one field of :class:`FitConfig`, beside its type and default.

    Parameters
    ----------
    help
        One sentence for the command's help and the reference page.
    topic
        "main" for what every user meets, else the heading among the advanced settings.
    choices
        The words allowed, or () where any are.
    minimum, maximum
        Bounds of a number, or None.
    open_interval
        True where the bounds themselves are not allowed.
    """

    help: str
    topic: str = "main"
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    open_interval: bool = False

    def expected(self, kind: str) -> str:
        """Return what a value should be, in words, for a message."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.minimum is None and self.maximum is None:
            return kind
        if self.maximum is None:
            return f"{kind} {'above' if self.open_interval else 'of at least'} {self.minimum:g}"
        between = f"{kind} between {self.minimum:g} and {self.maximum:g}"
        return f"{between}, neither included" if self.open_interval else between

    def allows(self, value: float | str) -> bool:
        """Whether a value of the right type is among the choices or inside the bounds."""
        if isinstance(value, str):
            return not self.choices or value in self.choices
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        inside = low < value < high if self.open_interval else low <= value <= high
        return math.isfinite(value) and inside


def about(
    help: str,
    topic: str = "main",
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    open_interval: bool = False,
) -> dict[str, Setting]:
    """Return the metadata of one field, see :class:`Setting`."""
    return {_KEY: Setting(help, topic, choices, minimum, maximum, open_interval)}


def positive(help: str, topic: str = "main") -> dict[str, Setting]:
    """Return the metadata of a field that must be above zero."""
    return about(help, topic, minimum=0.0, open_interval=True)


def not_negative(help: str, topic: str = "main") -> dict[str, Setting]:
    """Return the metadata of a field that must be zero or more."""
    return about(help, topic, minimum=0.0)


def setting_of(item: Field[Any]) -> Setting:
    """Return what is said about a field."""
    setting = item.metadata.get(_KEY)
    if not isinstance(setting, Setting):
        raise TypeError(f"{item.name}: give this field a Setting, with metadata=about(...)")
    return setting


def flag_of(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def wrong(name: str, expected: str, got: object) -> ConfigError:
    """Return the error for a value that a setting cannot have."""
    return ConfigError(
        f"{name}: expected {expected}, got {got!r}. Change {flag_of(name)}, or {name} in the configuration file."
    )


#: For each type of a field: its name in messages, the types accepted, and what makes the stored form of them.
_KINDS: dict[str, tuple[str, tuple[type, ...], Callable[[Any], Any]]] = {
    "float": ("a number", (Real,), float),
    "int": ("a whole number", (Integral,), int),
    "str": ("a text", (str,), str),
    "bool": ("true or false", (bool,), bool),
}


def checked(item: Field[Any], value: object) -> object:
    """Return a field's value in the one form it is stored in: a float for a length given as 5, a tuple for a list.

    Raises
    ------
    ConfigError
        If the value has the wrong type or lies outside the setting's range.
    """
    setting = setting_of(item)
    # Annotations are texts where they are postponed: "float", "float | None", "tuple[int, ...]".
    declared = str(item.type)
    if declared.endswith(" | None") and value is None:
        return None
    declared = declared.removesuffix(" | None")
    if not declared.startswith("tuple["):
        return _checked_one(item.name, declared, setting, value)
    inner = declared.removeprefix("tuple[").removesuffix(", ...]")
    if not isinstance(value, tuple | list):
        raise wrong(item.name, f"a list, each entry {setting.expected(_KINDS[inner][0])}", value)
    return tuple(_checked_one(item.name, inner, setting, entry) for entry in value)


def _checked_one(name: str, declared: str, setting: Setting, value: object) -> object:
    kind, accepted, store = _KINDS[declared]
    # Python counts True as a whole number; a user does not.
    if not isinstance(value, accepted) or (isinstance(value, bool) and declared != "bool"):
        raise wrong(name, setting.expected(kind), value)
    try:
        stored = store(value)
    except OverflowError:  # TOML's whole numbers have no bound
        raise wrong(name, setting.expected(kind), value) from None
    if not setting.allows(stored):
        raise wrong(name, setting.expected(kind), value)
    return stored
