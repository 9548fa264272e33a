"""`--html FILE`: the page of a check and of a replay."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_world import WITHOUT_TEST, secondsight


def data(file: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text())
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wrong driver, the page of its check, and what the command printed as JSON."""
    folder = tmp_path_factory.mktemp("html")
    (folder / "my_gpu.py").write_text(WITHOUT_TEST)
    done = secondsight("check", "my_gpu.py", "--adversary", "munmap", "--html", "check.html", "--json", cwd=folder)
    assert done.code == 1 and "check.html" in done.err
    (folder / "check.json").write_text(done.out)
    return folder


def test_check_writes_its_traces_and_all_verdicts(checked: Path) -> None:
    page, result = data(checked / "check.html"), json.loads((checked / "check.json").read_text())
    assert page["title"] == "my_gpu.py: broken"
    rows = page["results"]["rows"]
    assert [row["cells"][1:4] for row in rows] == [[r["adversary"], r["scenario"], r["verdict"]] for r in result["results"]]
    names = [trace["name"] for trace in page["traces"]]
    assert names and [row["trace"] for row in rows if row["trace"]] == names
    assert page["traces"][0]["again"].startswith("secondsight replay my_gpu.py munmap:reads ")
    assert any(source["own"] and source["file"] == "my_gpu.py" for source in page["traces"][0]["sources"])


def test_replay_writes_the_page_of_its_trace(checked: Path) -> None:
    done = secondsight("replay", "check.json", "--html", "replay.html", cwd=checked)
    assert done.code == 0, done.err
    page = data(checked / "replay.html")
    assert page["results"] is None and len(page["traces"]) == 1
    assert page["traces"][0]["message"] in done.out.replace("\n", " ")
    assert len(page["traces"][0]["steps"]) == len(page["traces"][0]["changes"])


@pytest.mark.parametrize(("page", "why"), [("nowhere/a.html", "there is no folder nowhere"), (".", "is a folder")])
def test_a_page_that_cannot_be_written_is_told_before_the_search(page: str, why: str, checked: Path) -> None:
    done = secondsight("check", "my_gpu.py", "--html", page, cwd=checked)
    assert done.code == 2 and why in done.err and done.out == ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a table's pages, and the table as JSON."""
    folder = tmp_path_factory.mktemp("site")
    secondsight("new", "table", "mine.py", cwd=folder)
    done = secondsight("settle", "mine.py", "--html", "site", "--json", cwd=folder)
    (table,) = json.loads(done.out)["tables"]
    return folder / "site", table


def test_settle_writes_a_page_for_each_broken_cell_and_they_lead_to_each_other(site: tuple[Path, Any]) -> None:
    folder, table = site
    index = (folder / "index.html").read_text()
    (file,) = re.findall(r'<h3><a href="([^"]+)">', index)
    page = (folder / file).read_text()
    assert table["title"] in page and table["question"].split()[0] in page
    cells = re.findall(r"<td><(?:a class=\"([\w-]+)\" href=\"([^\"]+)\"|span class=\"([\w-]+)\")>", page)
    assert [linked or plain for linked, _, plain in cells] == [c["verdict"].replace(" ", "-") for c in table["cells"]]
    broken = [c for c in table["cells"] if c["verdict"] == "broken"]
    leads = [href for _, href, _ in cells if href]
    assert broken and len(leads) == len(broken)
    for one, href in zip(broken, leads, strict=True):
        cell = data(folder / href)
        assert cell["up"] == file and cell["traces"][0]["rule"] == one["broken"]["rule"]
    for finding in table["findings"]:
        assert finding["result"].split(":")[0].split(",")[0] in re.sub(r"<[^>]*>", "", page)


def test_every_link_of_the_site_leads_somewhere(site: tuple[Path, Any]) -> None:
    folder, _ = site
    links = 0
    for page in (folder / name for name in ("index.html", "glossary.html", "mine.html") if (folder / name).exists()):
        text = page.read_text()
        assert "<script" not in text and "default-src 'none'" in text
        for href in re.findall(r'href="([^"]+)"', text):
            file, _, anchor = href.partition("#")
            if href != "data:,":
                links += 1
                assert not anchor or f'id="{anchor}"' in (folder / (file or page.name)).read_text(), href
                assert (folder / (file or page.name)).exists(), href
    assert links > 50


def test_settle_needs_a_folder_for_its_pages(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = secondsight("settle", "2019-08-hmm", "--html", "file", cwd=tmp_path)
    assert done.code == 2 and "the folder cannot be made" in done.err


def test_replay_shows_the_machine_at_a_step_and_draws_the_trace(checked: Path) -> None:
    done = secondsight("replay", "check.json", "--show", "3", "--svg", "trace.svg", cwd=checked)
    assert done.code == 0 and done.out.startswith("step 3 of ") and "\nframes\n" in done.out and "rule:" not in done.out
    assert (checked / "trace.svg").read_text().startswith("<svg ") and "the picture is trace.svg" in done.err
    refused = secondsight("replay", "check.json", "--show", "999", cwd=checked)
    assert refused.code == 2 and "--show 999: the trace has " in refused.err
    refused = secondsight("replay", "check.json", "--svg", "nowhere/trace.svg", cwd=checked)
    assert refused.code == 2 and "--svg nowhere/trace.svg: there is no folder nowhere" in refused.err


def test_run_writes_a_way_to_each_outcome(tmp_path: Path) -> None:
    done = secondsight("run", "two_devices", "--html", "run.html", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    page, told = data(tmp_path / "run.html"), done.json["scenarios"]
    rows = page["results"]["rows"]
    assert len(rows) == sum(len(one["possible"]) for one in told) and all(row["cells"][2] == "possible" for row in rows)
    assert [row["trace"] for row in rows] == [trace["name"] for trace in page["traces"]]
    assert all(trace["rule"] == "" and trace["steps"] for trace in page["traces"])
    assert secondsight("run", "two_devices", "--html", ".", cwd=tmp_path).code == 2
