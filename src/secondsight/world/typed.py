"""The methods of operations as Python text, one for each, for editors and type checkers: the recorder's
(`scenario/methods.py`), the handles' (`scenario/handle_methods.py`), and those of a machine by hand (`world/hand_methods.py`).

`python -m secondsight.world.typed` writes them; a test compares.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import secondsight.world.operations  # noqa: F401  declares them
from secondsight.scenario import handle_methods, methods
from secondsight.scenario.ops import OPS, REQUIRED, Arg, ArgType, Default, HandleType, Operation

__all__ = ["FILES", "hand_text", "handles_text", "methods_text"]

_HEAD = '''"""The recorder's methods, one for each operation. Made from `world/operations/` by `make operations`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secondsight.scenario.handles import Address, DeviceHandle, File, Importer, Mapping, Pin, Process

__all__ = ["RecorderMethods"]


class RecorderMethods(ABC):
    """Each notes an operation; what a handle's method does, too."""

    @abstractmethod
    def _operation(self, kind: str, into: str | None, **args: object) -> Any:
        """Note an operation: what it makes, or nothing."""
'''

_HANDLES = '''"""The handles' methods, one for each operation of one. Made from `world/operations/` by `make operations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secondsight.scenario.handles import Address
    from secondsight.scenario.recorder import Recorder

__all__ = ["DeviceMethods", "ImporterMethods", "PinMethods"]

'''

_HAND = '''"""What a process and a device do by hand, a method for each operation. Made from `world/operations/` by `make operations`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secondsight.scenario.handles import Address, File, Mapping, Pin

__all__ = ["DeviceMethods", "ProcessMethods"]'''
_DOES = '''

class {name}Methods(ABC):
    """Each does an operation at once. Its result is in a scenario's words; `OSError`: no handle came into being."""

    @abstractmethod
    def _do(self, kind: str, **args: object) -> Any:
        """Do an operation: what it makes, or its result."""
'''

_TYPES = {
    ArgType.VALUE: "str", ArgType.SEALS: "str", ArgType.FLAG: "bool", ArgType.DEVICE: "DeviceHandle", ArgType.PIN: "Pin",
    ArgType.PROCESS: "Process",
    ArgType.IMPORTER: "Importer", ArgType.ADDRESS: "Address", ArgType.PLACE: "Address",
    ArgType.FD: "File", ArgType.MEMFD: "File", ArgType.UDMABUF: "File", ArgType.DAX: "File", ArgType.FS_DAX: "File", ArgType.DISK_FILE: "File", ArgType.BUFFER: "File", ArgType.USERFAULTFD: "File",
    ArgType.RANGES: "Sequence[tuple[File, int, int]]",
}  # fmt: skip
_MADE = {
    HandleType.MAPPING: "Mapping", HandleType.DEVICE: "DeviceHandle", HandleType.PIN: "Pin", HandleType.IMPORTER: "Importer",
    HandleType.PROCESS: "Process",
}  # fmt: skip
_WIDTH = 128


def methods_text() -> str:
    """The file of the recorder."""
    return "\n".join([_HEAD, *(_method(op, op.name, "self", op.args) for op in OPS.values())])


def handles_text() -> str:
    """The file of the handles."""
    parts = [_HANDLES.removesuffix("\n")]
    for handle in (HandleType.DEVICE, HandleType.PIN, HandleType.IMPORTER):
        name = _MADE[handle].removesuffix("Handle")
        parts.append(f'\nclass {name}Methods:\n    """What {_article(handle.value)} {handle.value} does."""\n\n    _recorder: Recorder\n')
        for op in OPS.values():
            if op.of is handle:
                first, *rest = op.args
                parts.append(_method(op, op.name.removeprefix(f"{handle.value}_"), "self._recorder", rest, first))
    return "\n".join(parts)


def hand_text() -> str:
    """The file of a machine by hand."""
    parts = [_HAND]
    for name, of in (("Process", None), ("Device", HandleType.DEVICE)):
        parts.append(_DOES.format(name=name).removeprefix("\n" * (of is not None)))
        for op in OPS.values():
            beside = op.makes in (HandleType.DEVICE, HandleType.PROCESS) or ArgType.PROCESS in op.types  # nothing goes on beside who does it by hand
            if op.of in ((of,) if of else (None, HandleType.PIN)) and not op.kernel_only and not beside:
                parts.append(_by_hand(op, op.name if of is None else op.name.removeprefix(f"{of.value}_"), of is not None))
    return "\n".join(parts)


def _by_hand(op: Operation, name: str, of_handle: bool) -> str:
    """One method of a process, or of a handle, which is its first argument."""
    given = {n: op.args[n] for n in list(op.args)[of_handle:]}
    words = ["self", *(_parameter(n, arg) for n, arg in given.items() if not arg.keyword)]
    named = [_parameter(n, arg) for n, arg in given.items() if arg.keyword]
    words += ["*", *named] if named else []
    result = "str" if op.makes is None else _MADE.get(op.makes, "File")
    call = f"self._do({', '.join([chr(34) + op.name + chr(34), *(f'{n}={n}' for n in given)])})"
    lines = _signature(name, words, result) + _docstring(op.manual)
    return "\n".join([*lines, f"        done: {result} = {call}", "        return done"]) + "\n"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _method(op: Operation, name: str, recorder: str, names: Iterable[str], first: str = "") -> str:
    """One method. `first`: the argument that `self` is."""
    given = {n: op.args[n] for n in names}
    words = ["self", *(_parameter(n, arg) for n, arg in given.items() if not arg.keyword)]
    named = [_parameter(n, arg) for n, arg in given.items() if arg.keyword] + (["into: str | None = None"] if op.named else [])
    words += ["*", *named] if named else []
    result = "None" if op.makes is None else _MADE.get(op.makes, "File")
    passed = [f"{first}=self"] * bool(first) + [f"{n}={n}" for n in given]
    call = f"{recorder}._operation({', '.join([repr(op.name).replace(chr(39), chr(34)), 'into' if op.named else 'None', *passed])})"
    lines = _signature(name, words, result) + _docstring(op.manual)
    lines += [f"        made: {result} = {call}", "        return made"] if op.makes else [f"        {call}"]
    return "\n".join(lines) + "\n"


def _parameter(name: str, arg: Arg) -> str:
    kind = _TYPES.get(arg.type, "int")
    if isinstance(arg.default, Default) or arg.default is None or arg.optional:
        return f"{name}: {kind} | None = None"
    return f"{name}: {kind}" if arg.default is REQUIRED else f"{name}: {kind} = {arg.default!r}".replace("'", '"')


def _signature(name: str, words: list[str], result: str) -> list[str]:
    line = f"    def {name}({', '.join(words)}) -> {result}:"
    if len(line) <= _WIDTH:
        return [line]
    inner = f"        {', '.join(words)}"
    return [f"    def {name}(", *([inner] if len(inner) <= _WIDTH else [f"        {w}," for w in words]), f"    ) -> {result}:"]


def _docstring(manual: str) -> list[str]:
    text = f'"""{manual}"""' if "\n" not in manual or not manual.endswith('"') else f'"""{manual} """'
    head, *rest = text.split("\n")
    if "\n\n" in manual:
        rest[-1] = rest[-1].removesuffix('"""')
        rest.append('"""')
    return textwrap.indent("\n".join([head, *rest]), "        ").split("\n")


FILES = {Path(methods.__file__): methods_text, Path(handle_methods.__file__): handles_text, Path(__file__).with_name("hand_methods.py"): hand_text}
"""The files, and what stands in them."""

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text())
