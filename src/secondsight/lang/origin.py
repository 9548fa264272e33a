"""Where a program's code comes from: everything that the front end could read to make it, found without lowering anything.

`Origin` starts at the functions that threads begin with, the rules and the declared state, and follows names: those in a
function's code and annotations to its globals and its closure, those in a record's annotations, the methods of a record's
class. Its `digest` is a hash of all of it: of code, constants, annotations, classes and enums, wherever they were defined,
and of the files of all modules that are reached so (`lang.modules`). So it changes with a driver's source, with whatever that
imports, with a constant that was computed, or with a function that somebody replaced. This package counts as a whole.

It is made for keys of a cache, and errs to one side: what it cannot make out it names in `unclear`, and then nothing is kept.
Nor is anything kept if the front end took a value from somewhere that was not looked at here (`covers`).
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import itertools
import operator
import re
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from secondsight.lang.facts import hints_of
from secondsight.lang.functions import Functions
from secondsight.lang.machines import Const
from secondsight.lang.modules import Files, is_installed, is_ours, package_digest
from secondsight.lang.records import Record, Value
from secondsight.lang.standins import Shared, SharedArray, SharedRecord
from secondsight.lang.types import ArrayType, Bounds, IntType, RecordType, RefType

__all__ = ["Origin"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_PLAIN = (type(None), bool, int, float, str, bytes)
_OURS = "secondsight.lang."
_MISSING = object()
_IGNORED = {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "_fields", "_value_fields", "__qualname__", "__match_args__"}
_BUILTIN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType)


class Origin:
    """See the module. `shape`: what else the code depends on, as text."""

    def __init__(self, shape: str, roots: Sequence[Any], declarations: Iterable[Shared]) -> None:
        self.functions: dict[types.FunctionType, int] = {}
        self.classes: dict[str, type] = {}
        self.declarations: dict[str, Shared] = {}
        self.unclear: set[str] = set()
        self._seen: set[int] = set()
        self._covered: set[tuple[int, str]] = set()
        self._asked: set[tuple[int, int]] = set()
        self._kept: list[Any] = []  # so that no two things looked at have one id
        self._told: list[str] = []
        self._assumed = _Assumed()
        self._sources: dict[str, bool] = {}
        self._spaces: dict[int, dict[str, Any]] = {}
        self._hash = hashlib.sha256((package_digest() or "").encode())
        if package_digest() is None:
            self.unclear.add("files of this package were edited")
        self._roots(roots)
        self._tell(shape)
        for declaration in declarations:
            if id(declaration) not in self._seen:
                self._declaration(declaration)
        files = Files(self._spaces.values())
        self.files = files.digests
        self.unclear |= files.unclear
        for file, content in sorted(self.files.items()):
            self._tell("file", file, content)
        self._finish_telling()
        self.digest = self._hash.hexdigest()[:40]

    def _roots(self, roots: Sequence[Any]) -> None:
        """Follow the roots; or take what was found from the same ones, for the shapes of a driver differ in the rest alone."""
        name = (package_digest(), *map(id, roots))
        known = _followed.pop(name, None)
        if known is not None and known.stands():
            vars(self).update({part: value.copy() for part, value in vars(known).items()})
        else:
            for root in roots:
                self._value(root, ())
            self._kept.append(roots)
            self._finish_telling()
            known = Origin.__new__(Origin)
            vars(known).update({part: value.copy() for part, value in vars(self).items()})
        _followed[name] = known
        while len(_followed) > MOST_FOLLOWED:
            del _followed[next(iter(_followed))]

    def stands(self) -> bool:
        """Whether all names still mean what they meant: nobody has replaced a function, a constant, a method."""
        return self._assumed.stands()

    def covers(self, space: Any, name: str) -> bool:
        """Whether a name of a function's globals, or an attribute of a module or a class, was looked at."""
        holders = (base for base in space.__mro__ if name in vars(base)) if isinstance(space, type) else ()
        return (_id(space), name) in self._covered or (id(next(iter(holders), None)), name) in self._covered

    # Following names.

    def _tell(self, *parts: object) -> None:
        self._told.append("\t".join(map(str, parts)))

    def _finish_telling(self) -> None:
        """What was told goes into the digest."""
        self._hash.update("".join(f"{told}\n" for told in self._told).encode("utf-8", "surrogatepass"))
        self._told.clear()

    def _first(self, thing: Any) -> bool:
        if id(thing) in self._seen:
            return False
        self._seen.add(id(thing))
        self._kept.append(thing)
        return True

    def _value(self, value: Any, names: Iterable[str]) -> None:
        """Anything that a name stands for; `names`: those of the code that uses it, for attributes of modules and classes."""
        kind = type(value)
        if kind in _PLAIN:
            self._tell(kind.__name__, repr(value))
        elif kind is SharedRecord:
            self._value(object.__getattribute__(value, "_shared"), ())
        elif kind is SharedArray:
            self._value(value._shared, ())
        elif kind is Const:
            self._tell("table", value.name, value.kind)
        elif kind is Shared:
            self._declaration(value)
        elif kind is types.FunctionType:
            self._function(value)
        elif kind in (staticmethod, classmethod):
            self._tell(kind.__name__)
            self._value(value.__func__, names)
        elif isinstance(value, property):
            for part in (value.fget, value.fset):
                self._value(part, names)
        elif isinstance(value, enum.Enum):
            self._tell("member", type(value).__module__, value, repr(value.value))
            self._value(type(value), names)
        elif isinstance(value, types.ModuleType):
            self._module(value, names)
        elif isinstance(value, type) and typing.get_origin(value) is None:
            self._class(value, names)
        elif kind in (tuple, list, Functions):
            self._tell(kind.__name__, len(value))
            for part in value:
                self._value(part, names)
        elif kind in (set, frozenset):
            self._tell(kind.__name__, *sorted(map(repr, value)))
            if not all(type(part) in _PLAIN for part in value):
                self.unclear.add(repr(value))
        elif isinstance(value, (dict, types.MappingProxyType)):
            self._tell("dict", len(value))
            for name, part in value.items():
                self._value(name, ())
                self._value(part, names)
        elif isinstance(value, (IntType, Bounds)):
            self._tell(value)
        elif typing.get_origin(value) is not None:
            self._tell("type", getattr(typing.get_origin(value), "__qualname__", ""), *getattr(value, "__metadata__", ()))
            for part in typing.get_args(value):
                self._value(part, names)
        elif isinstance(value, typing.ForwardRef):
            self._tell("forward", value.__forward_arg__)
        else:
            self._other(value, kind)

    def _other(self, value: Any, kind: type) -> None:
        """What is not data: named, if it has a name that says what it is."""
        if isinstance(value, _BUILTIN) or kind.__module__ in ("typing", "types", "builtins", "__future__", "weakref"):
            self._tell("builtin", kind.__qualname__, getattr(value, "__qualname__", getattr(value, "__name__", "")))
        elif kind.__module__.startswith(_OURS):
            self._tell("language", kind.__qualname__)
        else:
            self._tell("unclear", kind.__module__, kind.__qualname__)
            self.unclear.add(f"{kind.__module__}.{kind.__qualname__}")

    def _declaration(self, declaration: Shared) -> None:
        if not self._first(declaration):
            self._tell("state", declaration.name)
            return
        if self.declarations.setdefault(declaration.name, declaration) is not declaration:
            self.unclear.add(f"two declarations called {declaration.name}")
        self._tell("state", declaration.name, declaration.kind)
        self._type(declaration.kind)

    def _type(self, kind: object) -> None:
        if isinstance(kind, ArrayType):
            self._tell("array", kind.size, kind.pool)
            self._type(kind.element)
        elif isinstance(kind, (RecordType, RefType)):
            self._class(kind.record, ())
        elif isinstance(kind, IntType) and kind.enum is not None:
            self._class(kind.enum, ())

    def _module(self, module: types.ModuleType, names: Iterable[str]) -> None:
        """Of a module the attributes that the code names."""
        self._tell("module", module.__name__)
        space = vars(module)
        self._space(space)
        if module.__name__.startswith(_OURS[:-1]):
            return
        for name in self._to_ask(space, names):
            plain = type(module) is types.ModuleType
            value = space.get(name, _MISSING) if plain else _attribute(module, name)
            if value is not _MISSING:
                self._read(space if plain else module, space, name, value, names)
            elif plain and "__getattr__" in space:
                value = _attribute(module, name)
                if value is not _MISSING:
                    self._read(module, space, name, value, names)

    def _to_ask(self, thing: Any, names: Iterable[str]) -> Iterable[str]:
        """The names of some code, if a thing was not asked for those before."""
        if (id(thing), id(names)) in self._asked:
            return ()
        self._asked.add((id(thing), id(names)))
        self._kept.append((thing, names))
        return names

    def _read(self, holder: Any, space: Any, name: str, value: Any, names: Iterable[str]) -> None:
        """What a name or an attribute stands for."""
        if (_id(space), name) not in self._covered:
            self._covered.add((_id(space), name))
            self._kept.append(space)
            self._assumed.add(holder, name, value)
            self._tell("name", name)
            self._value(value, names)
        elif isinstance(value, types.ModuleType):
            self._module(value, names)
        elif isinstance(value, type):
            self._attributes(value, names)

    def _space(self, space: dict[str, Any]) -> None:
        """The namespace of a module that is reached."""
        self._spaces.setdefault(id(space), space)

    def _class(self, cls: type, names: Iterable[str]) -> None:
        self._tell("class", cls.__module__, cls.__qualname__)
        if self._first(cls) and not cls.__module__.startswith(_OURS):
            self._members(cls, names)
        self._attributes(cls, names)

    def _attributes(self, cls: type, names: Iterable[str]) -> None:
        """Those that the code names, of a class whose members are not all looked at: not a model's, or of a class of its own."""
        if cls.__module__.startswith(_OURS) or cls.__module__ in ("builtins", "typing"):
            return
        if type(cls) in (type, enum.EnumMeta) and all(self._is_model(base) for base in cls.__mro__):
            return
        for name in self._to_ask(cls, names):
            value = _MISSING if name.startswith("__") else _attribute(cls, name)
            if value is not _MISSING:
                self._read(cls, cls, name, value, names)

    def _is_model(self, cls: type) -> bool:
        """Whether all members of a class are looked at."""
        return issubclass(cls, (Record, Value, enum.Enum)) or cls is object or self._is_source(cls.__module__)

    def _members(self, cls: type, names: Iterable[str]) -> None:
        self.classes[f"{cls.__module__}:{cls.__qualname__}"] = cls
        space = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
        if not is_ours(cls.__module__):
            self._space(space)
        if not self._is_model(cls):
            return  # a library's: what it is called says what it is, and its attributes are asked for by name
        for base in cls.__mro__[1:]:
            self._class(base, names)
        if issubclass(cls, enum.Enum):
            self._tell("members", *((m.name, repr(m.value)) for m in cls))
            return
        try:
            if issubclass(cls, Record):
                for name, kind in cls.fields().items():
                    self._tell("field", name, kind)
                    self._type(kind)
            elif issubclass(cls, Value):
                for name, kind in cls.value_fields().items():
                    self._tell("field", name, kind)
                    self._type(kind)
        except Exception as error:
            self._tell("no fields", error)  # the front end says so
            self.unclear.add(f"{cls.__qualname__}: {error}")
        for name, annotation in inspect.get_annotations(cls).items():
            self._tell("field", name)
            self._annotation(annotation, space)
        self._assumed.sizes.append((vars(cls), len(vars(cls))))
        for name, value in list(vars(cls).items()):
            if name in _IGNORED or name.startswith("__dataclass_"):
                continue
            self._tell("member", cls.__qualname__, name)
            self._assumed.add(vars(cls), name, value)
            self._covered.add((id(cls), name))
            if isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith("<"):
                continue  # written by dataclass
            self._value(value, names)

    def _is_source(self, name: str) -> bool:
        """Whether a module may be somebody's model: not of Python itself, nor installed by others."""
        if name not in self._sources:
            file = getattr(sys.modules.get(name), "__file__", None) or ""
            self._sources[name] = is_ours(name) or (bool(file) and not is_installed(file))
        return self._sources[name]

    def _annotation(self, annotation: Any, space: dict[str, Any]) -> None:
        if not isinstance(annotation, str):
            self._value(annotation, ())
            return
        self._tell(annotation)
        names = _NAME.findall(annotation)
        for name in names:
            self._named(space, name, names)

    def _named(self, space: dict[str, Any], name: str, names: Iterable[str]) -> None:
        """What a name stands for in a namespace, if it is in there."""
        value = space.get(name, _MISSING)
        if value is not _MISSING:
            self._read(space, space, name, value, names)

    def _function(self, function: types.FunctionType) -> None:
        self._tell("function", function.__module__, function.__qualname__)
        if not self._first(function) or (function.__module__ or "").startswith(_OURS):
            return
        self.functions[function] = len(self.functions)
        if not is_ours(function.__module__ or ""):
            self._space(function.__globals__)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self._assumed.add(function, name, getattr(function, name))
        names: dict[str, None] = {}
        self._code(function.__code__, names)
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            self._value(part, names)
        for name, annotation in function.__annotations__.items():
            self._tell("parameter", name)
            self._annotation(annotation, function.__globals__)
        if not is_ours(function.__module__ or "") and function.__annotations__:
            try:
                self._value(hints_of(function), ())
            except Exception as error:
                self._tell("no meaning", error)  # the front end says so
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._tell("closure", name)
            try:
                self._assumed.add(cell, "cell_contents", cell.cell_contents)
                self._value(cell.cell_contents, names)
            except ValueError:  # empty
                self.unclear.add(f"{function.__qualname__}: {name}")
        for name in names:
            self._named(function.__globals__, name, names)

    def _code(self, code: types.CodeType, names: dict[str, None]) -> None:
        names.update(dict.fromkeys(code.co_names))
        self._told.append(_told_code(code, code.co_filename))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, names)
            else:
                self._value(constant, ())


class _Assumed:
    """What names meant when they were looked at: those of namespaces, and attributes of other things.

    They are asked for often, so all of them at once, in C.
    """

    def __init__(self) -> None:
        self._named: tuple[list[Any], list[str], list[Any]] = ([], [], [])
        self._attributes: tuple[list[Any], list[str], list[Any]] = ([], [], [])
        self.sizes: list[tuple[types.MappingProxyType[str, Any], int]] = []  # of classes' namespaces: nobody has added a method

    def copy(self) -> _Assumed:
        made = _Assumed()
        for old, new in ((self._named, made._named), (self._attributes, made._attributes)):
            for part, other in zip(old, new, strict=True):
                other.extend(part)
        made.sizes.extend(self.sizes)
        return made

    def add(self, holder: Any, name: str, value: Any) -> None:
        """A name of a namespace, or an attribute."""
        is_space = isinstance(holder, (dict, types.MappingProxyType))
        for part, one in zip(self._named if is_space else self._attributes, (holder.get if is_space else holder, name, value), strict=True):
            part.append(one)

    def stands(self) -> bool:
        """Whether all of it is so."""
        (gets, names, were), (holders, attributes, had) = self._named, self._attributes
        return (
            _are_same(list(map(operator.call, gets, names, itertools.repeat(_MISSING))), were)
            and _are_same(_attributes_of(holders, attributes), had)
            and all(len(space) == size for space, size in self.sizes)
        )


def _attributes_of(holders: list[Any], attributes: list[str]) -> list[Any]:
    """The attributes of so many things; `_attribute` asks where one of them raises something else than that it is not there."""
    try:
        return list(map(getattr, holders, attributes, itertools.repeat(_MISSING)))
    except Exception:
        return list(map(_attribute, holders, attributes))


def _are_same(now: list[Any], were: list[Any]) -> bool:
    return all(map(operator.is_, now, were)) or all(map(_is_same, now, were))


def _is_same(now: Any, was: Any) -> bool:
    return now is was or (type(now) in _PLAIN and type(now) is type(was) and bool(now == was))


_followed: dict[tuple[object, ...], Origin] = {}
"""What was found by following roots, by their ids, each as long as it stands; who was not asked for for longest goes first."""
MOST_FOLLOWED = 4


@functools.lru_cache(maxsize=8192)
def _told_code(code: types.CodeType, file: str) -> str:
    """All of a code object but its constants; two of different files may be equal."""
    parts = (
        file, code.co_name, code.co_firstlineno, code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars,
        code.co_cellvars, code.co_flags, code.co_linetable.hex(), code.co_argcount, code.co_kwonlyargcount,
    )  # fmt: skip
    return "\t".join(map(str, parts))


def _id(space: Any) -> int:
    """What a module or a namespace goes by."""
    return id(vars(space)) if isinstance(space, types.ModuleType) else id(space)


def _attribute(thing: Any, name: str) -> Any:
    """An attribute as the front end asks for it, which may run a module's `__getattr__` or a metaclass's property."""
    try:
        return getattr(thing, name, _MISSING)
    except Exception:
        return _MISSING
