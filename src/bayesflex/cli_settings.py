"""Flags for the settings of a fit, made from ``FitConfig`` so that each is described in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from bayesflex.config import FitConfig
from bayesflex.settings import flag_of, setting_of

#: Types of flags by a setting's type. Lists are written as texts, which ``load_config`` reads.
_FLAG_TYPES: dict[str, type] = {"float": float, "int": int, "str": str, "bool": bool}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each field of :class:`FitConfig`.

    The command's parameter ``settings`` then receives the flags that were given, by the setting's name.
    """
    names = [item.name for item in fields(FitConfig)]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        settings = {name: value for name in names if (value := values.pop(name)) is not None}
        command(**values, settings=settings)

    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name != "settings"
    ]
    flags = {
        item: inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(item))
        for item in fields(FitConfig)
    }
    # Help lists them in this order: the inputs, the settings that every user meets, then all else.
    main = [flag for item, flag in flags.items() if setting_of(item).topic == "main"]
    advanced = [flag for item, flag in flags.items() if setting_of(item).topic != "main"]
    positional = [parameter for parameter in own if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    keyword = [parameter for parameter in own if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    parameters = positional + main + keyword + advanced
    # Typer asks for both, and would follow __wrapped__ back to a parameter that it cannot show.
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del wrapper.__wrapped__
    return wrapper


def _annotation(item: Field[Any]) -> Any:
    """Return the type of one flag with its name, help, default and panel."""
    setting = setting_of(item)
    flag = flag_of(item.name)
    declared = str(item.type).removesuffix(" | None")
    choices = f" One of {', '.join(setting.choices)}." if setting.choices else ""
    option = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if declared == "bool" else flag,
        help=setting.help + choices + _shown_default(item),
        show_default=False,
        rich_help_panel=None if setting.topic == "main" else f"Advanced: {setting.topic}",
        metavar=None if declared in _FLAG_TYPES else "LIST",
    )
    return Annotated[_FLAG_TYPES.get(declared, str) | None, option]


def _shown_default(item: Field[Any]) -> str:
    """Return the sentence that says a setting's default, if it has one that can be given."""
    default = item.default
    if default is MISSING or default is None or default == ():
        return ""
    if isinstance(default, bool):
        return f" Default: {'yes' if default else 'no'}."
    if isinstance(default, tuple):
        return f" Default: {default[0]}-{default[-1]}." if item.name == "modes" else f" Default: {default}."
    return f" Default: {default}."
