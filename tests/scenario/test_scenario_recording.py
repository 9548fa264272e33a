"""Recording scenarios: what is recorded, what is refused and how, and the data's round trip."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight.scenario import (
    OPS,
    HandleRef,
    Op,
    Recorder,
    Scenario,
    ScenarioError,
    ScenarioThread,
    collect,
    freeze,
    load_expected,
    load_scenarios,
    scenario,
    show_outcome,
)
from secondsight.world import typed

HERE = Path(__file__)
EXAMPLE = HERE.parents[2] / "examples" / "hole_refilled.py"


def test_a_scenario_is_data() -> None:
    (recorded,) = load_scenarios(EXAMPLE)
    assert recorded.name == "hole_refilled"
    assert recorded.doc.startswith("The guest punches a hole")
    assert [str(op) for op in recorded.setup] == [
        "memfd0 = memfd_create(pages=2, seals='shrink')",
        "mapping0 = mmap(fd=memfd0, page=0, pages=2)",
        "write(addr=mapping0, value='a', pages=2)",
        "udmabuf0 = udmabuf_create(fd=memfd0, page=0, pages=2)",
        "mapping1 = mmap(fd=udmabuf0, page=0, pages=2)",
    ]
    assert [(thread.name, [str(op) for op in thread.ops]) for thread in recorded.threads] == [
        (
            "guest",
            [
                "fallocate_punch_hole(fd=memfd0, page=1, pages=1)",
                "write(addr=mapping0+1, value='b', pages=1)",
            ],
        ),
        ("host", ["seen = read(addr=mapping1+1)"]),
    ]
    assert recorded.final == ()
    assert recorded.outcomes == ("seen",)
    lines = EXAMPLE.read_text().splitlines()
    assert all(op.site[0] == str(EXAMPLE) for op in recorded.setup)
    assert [lines[op.site[1] - 1].strip() for op in recorded.threads[1].ops] == ['s.read(d + 1, into="seen")']


def test_ranges_default_to_the_mapping_or_to_one_page() -> None:
    @scenario
    def ranges(s: Recorder) -> None:
        a = s.mmap(pages=3)
        s.write(a, "a")
        s.write(a + 1, "b")
        s.write(a + 1, "c", pages=2)
        s.munmap(a)
        s.madvise_dontneed(a + 2)
        s.mmap(pages=1, at=a + 1)
        s.mmap(at=a)

    assert [op.args["pages"] for op in ranges.setup] == [3, 3, 1, 2, 3, 1, 1, 3]


def test_after_is_a_context_and_a_decorator() -> None:
    @scenario
    def both(s: Recorder) -> None:
        a = s.mmap(pages=1)

        @s.thread
        def writer() -> None:
            s.write(a, "a")

        with s.after():
            s.read(a, into="one")

        @s.after
        def two() -> None:
            s.read(a, into="two")

        @s.after()
        def three() -> None:
            s.read(a, into="three")

    assert [place.name for place in both.places() if place.section == "final"] == ["one", "two", "three"]


def test_every_operation_has_a_method_with_a_manual() -> None:
    for kind in OPS:
        method = inspect.getattr_static(Recorder, kind)
        assert inspect.getdoc(method)
        assert set(OPS[kind].args) <= set(inspect.signature(method).parameters)


def test_the_methods_are_those_of_the_declarations() -> None:
    """`make operations` writes them."""
    assert {path.name: path.read_text() for path in typed.FILES} == {path.name: text() for path, text in typed.FILES.items()}


# What is refused

A_FILE = "f = s.memfd_create(pages=2)"
A_MAPPING = "a = s.mmap(pages=2)"
REFUSED = [
    ("s.memfd_create(pages=0)", "memfd_create: pages: 0 is not a number of pages", "from 1 to 16"),
    ("s.memfd_create(pages=17)", "pages: 17 is not", "from 1 to 16"),
    ("s.memfd_create(pages='2')", "pages: '2' is not", "from 1 to 16"),
    ("s.memfd_create(pages=1, seals='shrnk')", "unknown seal 'shrnk'", "shrink, grow, write"),
    (f"{A_FILE}; s.add_seals(f, 'shrink|')", None, None),
    (f"{A_FILE}; s.add_seals(f, 3)", "unknown seal 3", "join names"),
    (f"{A_FILE}; s.fallocate_punch_hole(f, page=2)", "page 2 is outside memfd0 (0 to 1)", "stay inside"),
    (f"{A_FILE}; s.fallocate_punch_hole(f, page=1, pages=2)", "page 2 is outside", "stay inside"),
    (f"{A_FILE}; s.udmabuf_create(f, page=-1)", "page: -1 is not a page's number", "from 0 to 15"),
    (f"{A_FILE}; s.udmabuf_create_list([])", "not a list of ranges", "1 to 8"),
    (f"{A_FILE}; s.udmabuf_create_list([(f, 0)])", "is not a range", "(fd, page, pages)"),
    (f"{A_FILE}; s.udmabuf_create_list([(f, 0, 0)])", "0 is not a number of pages", "from 1"),
    (f"{A_FILE}; s.udmabuf_create_halves(f, offset=0.5, size=1)", "0.5 is not a number of half pages", "from 0 to 31"),
    (f"{A_FILE}; s.udmabuf_create_halves(f, offset=0, size=32)", "32 is not a number of half pages", "from 0 to 31"),
    (f"{A_FILE}; s.read(f)", "memfd0 is a memfd, not an address", "mmap() of this scenario"),
    (f"{A_MAPPING}; s.close(a)", "mapping0 is a mapping, not a memfd, udmabuf, dax device or file", "memfd_create()"),
    (
        f"{A_FILE}; s.fallocate_punch_hole(s.udmabuf_create(f), page=0)",
        "udmabuf0 is a udmabuf, not a memfd",
        "",
    ),
    (f"{A_FILE}; s.mmap(f, at=7)", "at: 7 is not an address", "mmap() of this scenario"),
    (f"{A_FILE}; s.mmap(f, at=f)", "at: memfd0 is a memfd, not an address", "mmap()"),
    (f"{A_MAPPING}; s.mmap(pages=3, at=a)", "3 pages from mapping0 reach past its end", "stay inside"),
    ("s.mmap()", "mmap: how many pages?", "pages="),
    ("s.read(None)", "addr: None is not an address", "mmap()"),
    (f"{A_MAPPING}; a + 2", "page 2 is outside mapping0 (0 to 1)", "map more pages"),
    (f"{A_MAPPING}; a + -1", "page -1 is outside", ""),
    (f"{A_MAPPING}; s.munmap(a + 1, pages=2)", "2 pages from mapping0+1 reach past its end (2 pages)", ""),
    (f"{A_MAPPING}; s.write(a, 'ab')", "'ab' is not a page's value", "one printable"),
    (f"{A_MAPPING}; s.write(a, '0')", "'0' is not a page's value", "0 is the zero page"),
    (
        f"{A_MAPPING}; s.read(a, into='x'); s.read(a, into='x')",
        "into='x' is used already at",
        "name of its own",
    ),
    (f"{A_MAPPING}; s.read(a, into='a b')", "into='a b' is not a name", "identifier"),
    (f"{A_MAPPING}; s.read(a, into='process')", "is not a name", "other than process"),
    ("s.mumap()", "no operation mumap", "did you mean munmap?"),
    ("s.xyzzy()", "no operation xyzzy", "there are: mmap"),
    ("s.thread(T); s.thread(T)", "thread T: the name is taken", "differently"),
    ("s.thread(T); s.mmap(pages=1)", "mmap: after a thread, outside every thread", "with s.after()"),
    ("s.thread(lambda: s.mmap(pages=1))", "thread <lambda>: not a name", "made with def"),
    ("s.thread('cpu')", "thread 'cpu': not a name", "made with def"),
    ("s.thread(named('outer', s.thread, T))", "thread T inside outer", "do not nest"),
    ("[s.thread(named(f't{i}')) for i in range(8)]", "thread t7: there are 7 threads already", "fewer"),
    ("[s.thread(named(f't{i}')) for i in range(7)]; s.after(s.exit)", "after(): there are 7 threads already", "fewer"),
    ("[s.device() for _ in range(5)]", "a scenario has at most 4 devices", "split it"),
    ("[s.mmap(pages=1) for _ in range(33)]", "at most 32 handles", "split it"),
    (f"{A_MAPPING}; [s.read(a) for _ in range(64)]", "at most 64 operations", "split it"),
]


@pytest.mark.parametrize(("code", "reason", "remedy"), REFUSED, ids=[code for code, _, _ in REFUSED])
def test_bad_use_names_the_line_the_reason_and_the_remedy(
    code: str, reason: str | None, remedy: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        "from secondsight.scenario import scenario\n"
        "def T(): pass\n"
        "def named(name, *call):\n"
        "    def body(): call and call[0](*call[1:])\n"
        "    body.__name__ = name\n"
        "    return body\n"
        f"@scenario\ndef bad(s):\n    {code}\n"
    )
    if reason is None:
        load_scenarios(file)
        return
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(file)
    line = 4 if "'outer'" in code else 9
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert reason in caught.value.reason
    assert remedy is not None
    assert remedy in caught.value.remedy


def test_handles_of_another_scenario_are_refused() -> None:
    kept = []

    @scenario
    def one(s: Recorder) -> None:
        kept.append(s.mmap(pages=1))

    with pytest.raises(ScenarioError, match="mapping0 belongs to another scenario"):

        @scenario
        def two(s: Recorder) -> None:
            s.mmap(pages=1)
            s.read(kept[0])


def test_handles_made_in_a_thread_are_not_for_other_threads() -> None:
    with pytest.raises(ScenarioError, match=r"made in thread one, and may not exist yet in thread two"):

        @scenario
        def racy(s: Recorder) -> None:
            made = []

            @s.thread
            def one() -> None:
                made.append(s.mmap(pages=1))

            @s.thread
            def two() -> None:
                s.read(made[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", ":1: syntax error"),
        ("\nx = 1 / 0\n", ":2: ZeroDivisionError: division by zero"),
        ("import no_such_module_at_all\n", ":1: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", ":1: SystemExit: 3"),
        ("x = 1\n", ": defines no scenario"),
    ],
)
def test_files_that_cannot_be_loaded(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(file)
    assert str(caught.value).startswith(str(file) + message)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.py: no such file"):
        load_scenarios("nowhere.py")


# Outcomes


def test_outcomes_are_members_of_sets() -> None:
    assert freeze({"b": "a", "a": "0"}) == (("a", "\0"), ("b", "a"))
    assert show_outcome(freeze({"b": "a", "a": "\0"})) == "a=0, b=a"


def test_collecting_an_outcome() -> None:
    @scenario
    def small(s: Recorder) -> None:
        a = s.mmap(pages=1)

        @s.thread
        def one() -> None:
            s.read(a)
            s.munmap(a)
            s.read(a, into="x")

        with s.after():
            s.read(a, into="y")

    assert collect(small, ["ok", "a", "-EINVAL", "SIGSEGV", None]) == freeze(
        {"one[1].munmap": "-EINVAL", "x": "SIGSEGV", "y": "exited"}
    )
    assert collect(small, ["ok", "\0", "ok", "\0", "torn"]) == freeze({"x": "0", "y": "torn"})


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"x": {"outcomes": [{"a": 1}]}}', '{"x": {"outcomes": [3]}}'])
def test_bad_files_of_expected_outcomes(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.expected.json"
    file.write_text(text)
    with pytest.raises(ScenarioError, match="not a file of expected outcomes"):
        load_expected(file)
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_expected(tmp_path / "none")


# JSON


def draw_call(draw: st.DrawFn, s: Recorder, files: list, maps: list) -> None:  # type: ignore[type-arg]
    """One call on the recorder with arguments it accepts, from the handles there are."""
    pages = draw(st.integers(1, 3))
    seals = "|".join(draw(st.lists(st.sampled_from(["shrink", "grow", "write", "seal"]), max_size=2)))
    anywhere = [mapping + draw(st.integers(0, mapping.pages - 1)) for mapping in maps] + maps
    choices: list[Callable[[], object]] = [
        lambda: files.append(s.memfd_create(pages=pages, seals=seals)),
        lambda: maps.append(s.mmap(pages=pages)),
    ]
    if files:
        file = draw(st.sampled_from(files))
        choices += [
            lambda: maps.append(s.mmap(file)),
            lambda: s.fallocate_punch_hole(file, page=0),
            lambda: s.udmabuf_create(file, page=draw(st.integers(0, 3)), pages=pages),
            lambda: s.udmabuf_create_list([(draw(st.sampled_from(files)), 0, 1) for _ in range(pages)]),
            lambda: s.add_seals(file, seals),
            lambda: s.close(file),
            s.exit,
        ]
    if anywhere:
        addr = draw(st.sampled_from(anywhere))
        choices += [
            lambda: s.read(addr, into=f"r{s._checker.ops}"),
            lambda: s.write(addr, draw(st.characters(min_codepoint=65, max_codepoint=90))),
            lambda: s.munmap(addr),
            lambda: s.madvise_dontneed(addr),
            lambda: maps.append(s.mmap(at=addr)),
        ]
    draw(st.sampled_from(choices))()


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    def body(s: Recorder) -> None:
        files: list[object] = []
        maps: list[object] = []
        for _ in range(draw(st.integers(0, 6))):
            draw_call(draw, s, files, maps)
        for number in range(draw(st.integers(0, 3))):

            def thread() -> None:
                own = list(files), list(maps)
                for _ in range(draw(st.integers(0, 4))):
                    draw_call(draw, s, *own)

            thread.__name__ = f"thread{number}"
            s.thread(thread)
        with s.after():
            for _ in range(draw(st.integers(0, 3))):
                draw_call(draw, s, files, maps)

    body.__doc__ = draw(st.text(max_size=20))
    return scenario(body)


@given(scenarios())
def test_json_gives_the_same_scenario_back(recorded: Scenario) -> None:
    again = Scenario.from_json(recorded.to_json())
    assert again == recorded
    assert again.to_json() == recorded.to_json()
    assert again.outcomes == recorded.outcomes


@given(st.data())
def test_damaged_json_is_refused_or_still_makes_sense(data: st.DataObject) -> None:
    text = load_scenarios(EXAMPLE)[0].to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from(["", "9", '"', "null", "[", "x"])) + text[at + 1 :]
    try:
        Scenario.from_json(damaged)
    except ScenarioError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Op("mumap", {}), "mumap: no such operation"),
        (Op("munmap", {"addr": HandleRef("mapping0")}), "it takes \\['addr', 'pages'\\]"),
        (Op("munmap", {"addr": HandleRef("mapping9"), "pages": 1}), "is not an address of this scenario"),
        (Op("munmap", {"addr": HandleRef("mapping0", 5), "pages": 1}), "page 5 is outside"),
        (Op("munmap", {"addr": HandleRef("mapping0"), "pages": True}), "True is not a number of pages"),
        (Op("read", {"addr": HandleRef("mapping0")}, makes="x"), "makes no handle"),
        (Op("memfd_create", {"pages": 1, "seals": ""}, makes="mapping0"), "handle mapping0 exists already"),
    ],
)
def test_json_that_the_recorder_would_not_have_made(op: Op, message: str) -> None:
    first = Op("mmap", {"fd": None, "page": 0, "pages": 2, "at": None}, makes="mapping0")
    odd = Scenario("odd", "", (first, op), (), ())
    with pytest.raises(ScenarioError, match=message):
        Scenario.from_json(odd.to_json())


def test_json_with_two_threads_of_one_name() -> None:
    odd = Scenario("odd", "", (), (ScenarioThread("t", ()), ScenarioThread("t", ())), ())
    with pytest.raises(ScenarioError, match="names two"):
        Scenario.from_json(odd.to_json())
