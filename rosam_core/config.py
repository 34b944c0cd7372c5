"""Recipes: dataclass defaults, the differences a YAML file states, `key=value` on top."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file over the defaults of a dataclass, then applies overrides.

    Args:
        cls: A dataclass whose fields have defaults and may be dataclasses themselves.
        path: YAML file with the differences.
        overrides: `key=value` or `key.sub=value`; the value is read as YAML.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not YAML, an unknown key (with the closest known one) or a wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no recipe at {path}; see training/recipes/")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {path} is not YAML: {error}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ValueError(f"recipe {path} is not a mapping of keys to values")
    for override in overrides:
        apply_override(values, override)
    return from_mapping(cls, values)


@dataclasses.dataclass(frozen=True)
class _Stated:
    """A number or date as it was typed: a name such as 2011_09_26 must stay what it is."""

    value: Any
    text: str


def apply_override(values: dict[str, Any], override: str) -> None:
    """Sets `key.sub=value` in nested mappings, in place.

    Raises:
        ValueError: There is no "=", or the value is not YAML.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ValueError(f"override {override!r} is not of the form key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"override {override!r}: the value is not YAML: {error}") from error
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, datetime.date) or (is_number and str(value) != text.strip()):
        value = _Stated(value, text.strip())
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ValueError(f"override {override!r}: {parent} is a value, not a section")
        values = inner
    values[last] = value


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Returns a dataclass with the given values over its defaults.

    Args:
        cls: The dataclass.
        values: Nested mappings, as YAML gives them.
        where: Dotted path of `values`, for messages.

    Raises:
        ValueError: An unknown key or a wrong type, named with its dotted path.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{where}{close[0]}'?" if close else f"known: {sorted(known)}"
            raise ValueError(f"unknown key '{name}'; {hint}")
        arguments[key] = _typed(hints[key], value, name)
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{where.rstrip('.') or 'recipe'}: {error}") from error


def _typed(hint: Any, value: Any, name: str) -> Any:
    """Returns `value` as the annotated type, or raises ValueError naming the key."""
    if isinstance(value, _Stated):
        wants_text = str in (hint, *typing.get_args(hint))
        value = value.text if wants_text else value.value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _typed(next(a for a in arguments if a is not type(None)), value, name)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return from_mapping(hint, value, f"{name}.")
    elif origin is tuple:
        if isinstance(value, (list, tuple)) and len(value) == len(arguments):
            pairs = zip(arguments, value, strict=True)
            return tuple(_typed(a, v, f"{name}[{i}]") for i, (a, v) in enumerate(pairs))
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(k): _typed(arguments[1], v, f"{name}.{k}") for k, v in value.items()}
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif hint is float:
        with contextlib.suppress(TypeError, ValueError):
            if not isinstance(value, bool):
                return float(value)  # also of text: YAML 1.1 reads 3e-4, without a dot, as such
    elif hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ValueError(f"'{name}' must be {expected}, got {value!r}")


def to_yaml(config: Any) -> str:
    """Returns every field of a dataclass as YAML text that `load_config` reads back."""
    return str(yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
