"""Sections of a record: dataclasses whose fields are the keys of a JSON object. Torch-free."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Self

from bench.outside import Json

LARGEST = 2**63  # of the numbers that a file of tables holds


class Section:
    """A part of a record; a subclass is a dataclass with a field for each key.

    Fields made by `later` are null until training fills them, and are left out of the JSON while
    nobody has filled any of them. So are keys that the JSON it was read from did not have.
    """

    _absent: frozenset[str] = frozenset()

    @classmethod
    def filled(cls, values: Mapping[str, object]) -> Self:
        """Return the section with exactly these values, those of `later` fields apart.

        Raises TypeError for a missing key and for one that the section does not have.
        """
        fields = _fields(cls)
        unknown = [key for key in values if key not in fields]
        if unknown:
            raise TypeError(f"{cls.__name__} has no field {', '.join(unknown)}")
        named = {fields[key].name: _fill(fields[key].type, value) for key, value in values.items()}
        return cls(**named)

    @classmethod
    def read(cls, values: Any) -> Self:
        """Return the section that a JSON object holds; keys that it does not know are left out.

        A value that is missing or of another kind becomes None where the field may be None.
        Raises ValueError, which names the field, where it may not.
        """
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        section, key = cls.__new__(cls), ""
        known = vars(section)  # filled directly: a record has more than 200 fields
        try:
            for key, name, optional, read in _readers(cls):
                value = values.get(key)
                known[name] = None if value is None and optional else read(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        section._absent = frozenset(_fields(cls).keys() - values.keys())
        return section

    def as_json(self) -> Json:
        """Return the section as a JSON object."""
        values = values_of(self)
        late = _late(type(self))
        unfilled = late if all(values[key] is None for key in late) else ()
        return {
            key: _plain(values[key])
            for key in _fields(type(self))
            if values[key] is not None or (key not in self._absent and key not in unfilled)
        }

    def __getitem__(self, key: str) -> Any:
        """Return the value that JSON has under `key`."""
        return getattr(self, _fields(type(self))[key].name)


def later() -> Any:
    """Return a field of a section that is filled only while the cell runs."""
    return dataclasses.field(default=None, metadata={"later": True})


def named(key: str) -> Any:
    """Return a field whose key in JSON is no Python name."""
    return dataclasses.field(metadata={"key": key})


def value_at(section: Any, path: str) -> Any:
    """Return the value at `path`, "results.last.score", or None where there is none."""
    for key in path.split("."):
        section = value_of(section, key)
    return section


def value_of(section: Any, key: str) -> Any:
    """Return what a section or a mapping has under `key`, or None where there is no such thing."""
    if isinstance(section, dict):
        return section.get(key)
    field = _fields(type(section)).get(key) if isinstance(section, Section) else None
    return None if field is None else getattr(section, field.name)


def values_of(section: Any) -> Mapping[str, object]:
    """Return what a section or a mapping has under each key; nothing for any other value."""
    if isinstance(section, Section):
        values = vars(section)
        if _renamed(type(section)):
            return {key: values[field.name] for key, field in _fields(type(section)).items()}
        return values
    return section if isinstance(section, dict) else {}


def kind_at(section: type[Section], path: str) -> Any:
    """Return the type of the value at `path`; Any inside of a free mapping, KeyError elsewhere."""
    kind: Any = section
    for key in path.split("."):
        kind = _without_none(kind)
        if isinstance(kind, type) and issubclass(kind, Section):
            kind = _fields(kind)[key].type
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        elif kind is not Any:
            raise KeyError(path)
    return _without_none(kind)


# --- how a field becomes JSON, and comes back ----------------------------------------------------


_known_fields: dict[Any, dict[str, "dataclasses.Field[Any]"]] = {}


def _fields(section: Any) -> dict[str, "dataclasses.Field[Any]"]:
    """Return the fields of a subclass of Section by their keys in JSON."""
    if section not in _known_fields:
        fields = dataclasses.fields(section)
        _known_fields[section] = {field.metadata.get("key", field.name): field for field in fields}
    return _known_fields[section]


_known_late: dict[Any, frozenset[str]] = {}


def _late(section: Any) -> frozenset[str]:
    """Return the keys of a subclass of Section that are filled only while the cell runs."""
    if section not in _known_late:
        fields = _fields(section).items()
        _known_late[section] = frozenset(
            key for key, field in fields if field.metadata.get("later")
        )
    return _known_late[section]


_known_renamed: dict[Any, bool] = {}


def _renamed(section: Any) -> bool:
    """Tell whether a field of a subclass of Section has another key in JSON than its name."""
    if section not in _known_renamed:
        fields = _fields(section)
        _known_renamed[section] = any(key != field.name for key, field in fields.items())
    return _known_renamed[section]


def _plain(value: Any) -> Any:
    return value.as_json() if isinstance(value, Section) else value


def _fill(kind: Any, value: Any) -> Any:
    """Return a value for a field, a mapping as the section that the field holds."""
    kind = _without_none(kind)
    holds_section = isinstance(kind, type) and issubclass(kind, Section)
    return kind.filled(value) if holds_section and isinstance(value, Mapping) else value


def _without_none(kind: Any) -> Any:
    """Return X for the type `X | None`."""
    if typing.get_origin(kind) not in (types.UnionType, typing.Union):
        return kind
    (rest,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
    return rest


Reader = Callable[[Any], Any]
_known_readers: dict[Any, list[tuple[str, str, bool, Reader]]] = {}


def _readers(section: Any) -> list[tuple[str, str, bool, Reader]]:
    """Return of every field of a subclass of Section key, name, whether it may be None, reader."""
    if section not in _known_readers:
        _known_readers[section] = [
            (key, field.name, _without_none(field.type) is not field.type, _reader(field.type))
            for key, field in _fields(section).items()
        ]
    return _known_readers[section]


def _reader(kind: Any) -> Reader:
    """Return what takes a JSON value for a field of this type, or raises ValueError.

    A field that may be None is not asked about a missing value.
    """
    rest = _without_none(kind)
    if isinstance(rest, type) and issubclass(rest, Section):
        return rest.read
    usable, complaint = KINDS[typing.get_origin(rest) or rest]
    finish = _savable if rest is str else lambda value: value
    if rest is not kind:
        return lambda value: finish(value) if usable(value) else None

    def required(value: Any) -> Any:
        if not usable(value):
            raise ValueError(complaint)
        return finish(value)

    return required


def _savable(text: str) -> str:
    """Return a text without the lone surrogates that JSON can hold and no file can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _is_number(value: Any) -> bool:
    """Tell whether a value is a finite number that a file of tables can hold."""
    kind = type(value)
    return (kind is float or kind is int) and -LARGEST < value < LARGEST


KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str), "it is not a text"),
    int: (lambda value: type(value) is int and _is_number(value), "it is not a whole number"),
    float: (_is_number, "it is not a finite number"),
    bool: (lambda value: isinstance(value, bool), "it is neither true nor false"),
    dict: (lambda value: isinstance(value, dict), "it is not a JSON object"),
    list: (lambda value: isinstance(value, list), "it is not a list"),
}
