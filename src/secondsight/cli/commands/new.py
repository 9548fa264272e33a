"""`secondsight new KIND NAME`: a file to begin with, that runs as it is."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated

import typer

from secondsight.lang.errors import LangError

__all__ = ["new"]

_TEMPLATES = Path(__file__).parents[1] / "templates"
_RUN = {
    "driver": "secondsight check {file}",
    "rule": "secondsight check {file} --rule {rule}",
    "scenario": "secondsight run {file}",
    "table": "secondsight settle {file}",
}


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in _RUN if kind.startswith(incomplete)]


def new(
    kind: Annotated[str, typer.Argument(metavar="|".join(_RUN), help="What to write.", autocompletion=_kinds)],
    name: Annotated[str, typer.Argument(help="Its name, such as my_gpu; the file is called NAME.py.")],
) -> None:
    """Write a file to begin with: a driver, a scenario, a table, or a rule of one's own. It runs as it is."""
    from secondsight.report.beginnings import the_one_begun

    meant = the_one_begun(kind, _RUN)
    if meant is None:
        raise LangError(f"there is nothing to write of the kind {kind}; there are {', '.join(_RUN)}")
    kind = meant
    path = Path(name if name.endswith(".py") else f"{name}.py")
    words = [word for word in path.stem.replace("-", "_").split("_") if word]
    function = "_".join(words)
    if not function.isidentifier() or keyword.iskeyword(function):
        raise LangError(f"{path.stem!r} cannot be the name of a Python file and of what is in it; use letters, digits and _")
    path = path.with_name(f"{function}.py")
    names = {
        "FILE_NAME": path.name,
        "ClassName": "".join(word[0].upper() + word[1:] for word in words),
        "function_name": function.lower(),
        "RULE-NAME": "-".join(words).lower(),
    }
    text = (_TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")
    for word, own in names.items():
        text = text.replace(word, own)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise LangError(f"{path} is there already; give another name, or move it away") from None
    print(f"{path} is written. Try it:\n  {_RUN[kind].format(file=path, rule=names['RULE-NAME'])}")
