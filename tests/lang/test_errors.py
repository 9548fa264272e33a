"""An error is the same in another process: its class, its text, its parts, and the others that it is told with."""

from __future__ import annotations

import pickle

import pytest
from models import PRELUDE, module_of, program

from secondsight.lang import errors
from secondsight.lang.errors import LangError, Position, Refused

AT = Position("f.py", 3, 5)
ERRORS = [
    errors.LangError("wrong"),
    errors.Refused(AT, "x = {}", "a dict", "an Array"),
    errors.ModelError("wrong", AT),
    errors.OutOfRecords("frames", 3, AT),
    errors.LeftRange("n", 300, 0, 255, AT),
    errors.BadIndex("cells", 4, 3, AT),
    errors.TooLarge("n * n", AT),
    errors.NoneFollowed("a.b", AT),
    errors.RuleBroken("rule", "message", AT),
    errors.UseAfterFree("job.n", AT),
    errors.FreedTwice(AT),
]


def parts(error: LangError) -> dict[str, object]:
    return {name: value for name, value in vars(error).items() if name != "find_others"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_in_another_process(error: LangError) -> None:
    there = pickle.loads(pickle.dumps(error))
    back = pickle.loads(pickle.dumps(there))
    assert (type(back), str(back), back.whole(), parts(back)) == (type(error), str(error), error.whole(), parts(error))


def test_every_error_was_tried() -> None:
    known = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LangError)}
    assert {type(error) for error in ERRORS} == known


def test_a_refusal_takes_the_others_with_it() -> None:
    with module_of(PRELUDE + "def main() -> None:\n    world.nope = 1\n    world.n = nowhere\n") as module:
        with pytest.raises(Refused) as caught:
            program(module, ("main",))
        sent, told = pickle.dumps(caught.value), caught.value.whole()
    assert told.count("instead: ") == 2 and pickle.loads(sent).whole() == told
