"""Where a program's code comes from: everything that the front end could read to make it, found without lowering anything.

`Origin` starts at the functions that threads begin with, the rules and the declared state, and follows names: those in a
function's code and annotations to its globals and its closure, those in a record's annotations, the methods of a record's
class. Its `digest` is a hash of all of it: of code, constants, annotations, classes and enums, wherever they were defined.
So it changes with a driver's source, with a kernel model's, with a constant that another module computed, or with a function
that somebody replaced. What belongs to the language itself counts as a whole, by its files.

It is made for keys of a cache, and errs to one side: what it cannot make out it names in `unclear`, and then nothing is kept.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable
from importlib import resources
from typing import Any

from secondsight.lang.records import Const, Record, Shared, Value, _SharedArray, _SharedRecord
from secondsight.lang.types import ArrayType, Bounds, IntType, RecordType, RefType

__all__ = ["Origin", "language_digest"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_PLAIN = (type(None), bool, int, float, str, bytes)
_OURS = "secondsight.lang."
_MISSING = object()
_IGNORED = {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "_fields", "__qualname__", "__match_args__"}
_BUILTIN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType)


@functools.cache
def language_digest() -> str:
    """A hash of the language itself: the front end, the renderers, the engine, and the Python that runs them."""
    made = hashlib.sha256(sys.version.encode())
    for folder, ends in (("secondsight.lang", ".py"), ("secondsight.search", ".c")):
        for file in sorted(resources.files(folder).iterdir(), key=lambda f: f.name):
            if file.name.endswith(ends):
                made.update(f"{file.name}\0".encode())
                made.update(file.read_bytes())
    return made.hexdigest()


class Origin:
    """See the module. `shape`: what else the code depends on, as text."""

    def __init__(self, shape: str, roots: Iterable[Any], declarations: Iterable[Shared]) -> None:
        self.functions: set[types.FunctionType] = set()
        self.classes: dict[str, type] = {}
        self.declarations: dict[str, Shared] = {}
        self.unclear: set[str] = set()
        self._seen: set[int] = set()
        self._named_before: set[tuple[int, str]] = set()
        self._kept: list[Any] = []  # so that no two things looked at have one id
        self._told: list[str] = [language_digest(), shape]
        self._assumed: list[tuple[Any, Any, Any]] = []
        self._files: dict[str, bool] = {}
        for root in roots:
            self._value(root, ())
        for declaration in declarations:
            if id(declaration) not in self._seen:
                self._declaration(declaration)
        self.digest = hashlib.sha256("\n".join(self._told).encode("utf-8", "surrogatepass")).hexdigest()[:40]

    def stands(self) -> bool:
        """Whether all names still mean what they meant: nobody has replaced a function, a constant, a method."""
        for space, name, value in self._assumed:
            if (space.__code__ if name is None else space.get(name, _MISSING)) is not value:
                return False
        return True

    # Following names.

    def _tell(self, *parts: object) -> None:
        self._told.append("\t".join(map(str, parts)))

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
        elif kind is _SharedRecord:
            self._value(object.__getattribute__(value, "_shared"), ())
        elif kind is _SharedArray:
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
        elif kind in (tuple, list):
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
        if module.__name__.startswith(_OURS[:-1]):
            return
        space = vars(module)
        for name in names:
            if name in space and (id(space), name) not in self._named_before:
                self._named_before.add((id(space), name))
                self._assumed.append((space, name, space[name]))
                self._tell("attribute", module.__name__, name)
                self._value(space[name], names)

    def _class(self, cls: type, names: Iterable[str]) -> None:
        self._tell("class", cls.__module__, cls.__qualname__)
        if not self._first(cls) or cls.__module__.startswith(_OURS):
            return
        self.classes[f"{cls.__module__}:{cls.__qualname__}"] = cls
        model = issubclass(cls, (Record, Value, enum.Enum)) or self._is_source(cls.__module__)
        if not model:
            return  # a library's: what it is called says what it is
        for base in cls.__mro__[1:]:
            self._class(base, ())
        if issubclass(cls, enum.Enum):
            self._tell("members", *((m.name, repr(m.value)) for m in cls))
            return
        space = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
        for name, annotation in inspect.get_annotations(cls).items():
            self._tell("field", name)
            self._annotation(annotation, space)
        for name, value in list(vars(cls).items()):
            if name in _IGNORED or name.startswith("__dataclass_"):
                continue
            self._tell("member", cls.__qualname__, name)
            self._assumed.append((vars(cls), name, value))
            if isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith("<"):
                continue  # written by dataclass
            self._value(value, names)

    def _is_source(self, name: str) -> bool:
        """Whether a module may be somebody's model: not of Python itself, nor installed by others."""
        if name not in self._files:
            file = getattr(sys.modules.get(name), "__file__", None) or ""
            self._files[name] = bool(file) and not any(part in file for part in ("site-packages", f"{sys.base_prefix}/lib/"))
        return self._files[name] or name.startswith("secondsight.")

    def _annotation(self, annotation: Any, space: dict[str, Any]) -> None:
        if not isinstance(annotation, str):
            self._value(annotation, ())
            return
        self._tell(annotation)
        for name in _NAME.findall(annotation):
            self._named(space, name, ())

    def _named(self, space: Any, name: str, names: Iterable[str]) -> bool:
        """What a name stands for in a namespace, if it is in there."""
        value = space.get(name, _MISSING)
        if value is _MISSING:
            return False
        if (id(space), name) not in self._named_before:
            self._named_before.add((id(space), name))
            self._assumed.append((space, name, value))
            self._tell("name", name)
            self._value(value, names)
        elif isinstance(value, types.ModuleType):
            self._module(value, names)
        return True

    def _function(self, function: types.FunctionType) -> None:
        self._tell("function", function.__module__, function.__qualname__)
        if not self._first(function) or (function.__module__ or "").startswith(_OURS):
            return
        self.functions.add(function)
        self._assumed.append((function, None, function.__code__))
        names: dict[str, None] = {}
        self._code(function.__code__, names)
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            self._value(part, names)
        for name, annotation in function.__annotations__.items():
            self._tell("parameter", name)
            self._annotation(annotation, function.__globals__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._tell("closure", name)
            try:
                self._value(cell.cell_contents, names)
            except ValueError:  # empty
                self.unclear.add(f"{function.__qualname__}: {name}")
        for name in names:
            self._named(function.__globals__, name, names)

    def _code(self, code: types.CodeType, names: dict[str, None]) -> None:
        names.update(dict.fromkeys(code.co_names))
        self._tell(
            code.co_filename, code.co_name, code.co_firstlineno, code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars,
            code.co_cellvars, code.co_flags, code.co_linetable.hex(), code.co_argcount, code.co_kwonlyargcount,
        )  # fmt: skip
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, names)
            else:
                self._value(constant, ())
