"""Reading a file that a user wrote, where every mistake is one line that names file and key; and writing one whole."""

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from brownout.errors import FileError

__all__ = ["parse_toml", "read_text", "unwritable", "write_whole"]

T = TypeVar("T")

_PART = re.compile(r"\[[^]]*]|[^.\[]+")
"""A step of msgspec's path: a key, or an index or ``...`` in brackets."""


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        FileError: there is no such file, or it is not readable text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError(str(path), "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(str(path), f"cannot be read: {error}") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of which nobody ever sees a part, into a folder that is there.

    Raises:
        FileError: it cannot be written; what was there before still is.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> FileError:
    """The error that a path cannot be written."""
    return FileError(str(path), f"cannot be written: {error.strerror}")


def parse_toml(text: str, name: str, type_: type[T]) -> T:
    """A value of a type from TOML text; ``name`` is the file's, for the error.

    Raises:
        FileError: not TOML, an unknown or missing key, a value of the wrong type or out of bounds.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileError(name, f"not TOML: {error}") from None
    _refuse_unknown_keys(data, inspect.type_info(type_), name, "")
    return _convert(data, type_, name)


def _convert(data: Any, type_: type[T], name: str) -> T:
    try:
        return msgspec.convert(data, type_, strict=True)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        where = _real_path(data, path.rstrip("`"))
        raise FileError(f"{name}: {where}" if where else name, _lower_first(reason)) from None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _refuse_unknown_keys(data: Any, info: inspect.Type, name: str, where: str) -> None:
    """Walk data and type together; msgspec alone does not say which key of a table it was, or what is allowed."""
    if isinstance(info, inspect.UnionType):
        info = _chosen(data, info, name, where)
    for key, value, inner in _parts(data, info, name, where):
        _refuse_unknown_keys(value, inner, name, key)


def _parts(data: Any, info: inspect.Type, name: str, where: str) -> Iterator[tuple[str, Any, inspect.Type]]:
    """What a value is made of: the path, value and type of each part."""
    if isinstance(info, inspect.StructType) and isinstance(data, dict):
        types: dict[str, inspect.Type] = {field.encode_name: field.type for field in info.fields}
        tag = [info.tag_field] if info.tag_field else []
        for key, value in data.items():
            if key in types:
                yield _join(where, key), value, types[key]
            elif key not in tag:
                raise FileError(f"{name}: {_join(where, key)}", f"unknown key; allowed are {', '.join([*tag, *types])}")
    elif isinstance(info, inspect.DictType) and isinstance(data, dict):
        yield from ((_join(where, key), value, info.value_type) for key, value in data.items())
    elif isinstance(info, inspect.VarTupleType | inspect.ListType) and isinstance(data, list):
        yield from ((f"{where}[{index}]", value, info.item_type) for index, value in enumerate(data))


def _chosen(data: Any, union: inspect.UnionType, name: str, where: str) -> inspect.Type:
    """The member of a union that a value is meant to be: by its tag where the members have one."""
    structs = [member for member in union.types if isinstance(member, inspect.StructType)]
    kinds = {str(member.tag): member for member in structs if member.tag_field}
    if not isinstance(data, dict) or not structs:
        return inspect.AnyType()
    if not kinds:
        return structs[0]
    field = str(structs[0].tag_field)
    if str(data.get(field)) in kinds:
        return kinds[str(data[field])]
    said = f"unknown kind {data[field]!r}" if field in data else "missing"
    raise FileError(f"{name}: {_join(where, field)}", f"{said}; allowed are {', '.join(sorted(kinds))}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _real_path(data: Any, path: str) -> str:
    """Msgspec's path with the table keys that it leaves out as ``[...]`` put back where only one can be meant."""
    where = ""
    for part in _PART.findall(path):
        if part == "[...]" and isinstance(data, dict):
            key = next(iter(data)) if len(data) == 1 else "*"
            where, data = _join(where, key), data.get(key)
        elif part.startswith("[") and isinstance(data, list):
            where, data = where + part, data[int(part[1:-1])]
        else:
            where, data = _join(where, part), data.get(part) if isinstance(data, dict) else None
    return where
