"""What the documents say of the repository is so: links, variables, rules, and the pages of the site."""

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted((ROOT / "docs").rglob("*.md"))
OUTSIDE: Final = [
    ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md") if (ROOT / name).exists()
]
REPOSITORY: Final = "https://github.com/artifactstore/artifactstore"
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
SOURCES: Final = sorted((ROOT / "artifactstore").rglob("*.py"))


def prose(document: Path) -> str:
    """Return a page without its code, in which brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$|^:::.*?$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a page's headings, as MkDocs makes them."""
    titles = re.findall(r"^#+ +(.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.slow
@pytest.mark.parametrize("document", [*OUTSIDE, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one_and_to_a_heading_in_it(document: Path):
    for link in LINK.findall(prose(document)):
        target, _, anchor = link.partition("#")
        if target.startswith(REPOSITORY):
            path = re.sub(r"^/(?:blob|tree|raw)/main/", "", target.removeprefix(REPOSITORY))
            found = ROOT / path if path and not path.startswith("/") else document
        elif re.match(r"[a-z]+:", target):
            continue
        else:
            found = (document.parent / target) if target else document
        assert found.exists(), f"{document.name} links to {link}"
        assert not anchor or found.suffix != ".md" or anchor in anchors(found), f"{document.name} links to {link}"


def test_paths_of_the_repository_that_are_named_exist():
    for document in [*OUTSIDE, *PAGES]:
        for target in re.findall(r"`((?:docs|benchmarks|tests|artifactstore)/[A-Za-z0-9_./-]+)`", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} names {target}"
    architecture = (ROOT / "docs/explanation/architecture.md").read_text()
    for target in re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", architecture):
        assert (ROOT / "artifactstore" / target).exists() or (ROOT / target).exists(), f"the architecture names {target}"


def test_documents_name_no_machine_and_no_registry():
    for document in [*OUTSIDE, *PAGES]:
        assert not re.search(r"(?<![\w.])/(?:work|root)/|pypi\.org|files\.pythonhosted", document.read_text()), document


def test_the_pages_speak_plainly():
    """Words of a dialect that readers of other tools do not search for; decisions stay as they were written."""
    for document in [*OUTSIDE, *PAGES]:
        if document.name != "CHANGELOG.md" and document.parent.name != "decisions":
            found = re.findall(
                r"\b(?:told|said|nobody|somebody|lies in|stands in|is no store|says so)\b", LINK.sub("]", prose(document))
            )
            assert not found, f"{document}: {found}"


def test_the_set_up_lines_of_the_readme_stay_as_they_are():
    """Others run them to the letter: the first shell code of the README."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks[:2] == [
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/artifactstore demo\n",
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m pytest\n",
    ]


def test_what_the_code_cites_is_in_the_documents():
    rules = set(re.findall(r"^## Rule (\d+)\.", (ROOT / "docs/reference/protocol.md").read_text(), re.MULTILINE))
    assert rules == {str(number) for number in range(1, 14)}
    for source in SOURCES:
        text = source.read_text()
        for page in re.findall(r"docs/[a-z/-]+\.md", text):
            assert (ROOT / page).exists(), f"{source} cites {page}"
        for number in re.findall(r"docs/decisions/(\d{4})", text):
            assert list((ROOT / "docs/decisions").glob(f"{number}-*.md")), f"{source} cites decision {number}"
        for rule in re.findall(r"protocol\.md, rule (\d+)", text):
            assert rule in rules, f"{source} cites rule {rule}"
        for page, section in re.findall(r"\((docs/[a-z/-]+\.md), \"([^\"]+)\"\)", text):
            assert section.lower().replace(" ", "-") in anchors(ROOT / page), f"{source} cites {section!r} of {page}"
        assert not re.search(r"\bPROTOCOL \d|\bDESIGN\b|\bSTYLE:|API\.md", text), f"{source} cites what is not in the repository"


def test_every_variable_that_is_read_is_documented():
    page = (ROOT / "docs/reference/environment.md").read_text()
    listed = set(re.findall(r"`((?:ARTIFACTSTORE|OPENLINEAGE)_[A-Z_]+)`", page))
    read = {
        name for source in SOURCES for name in re.findall(r"[\"$]((?:ARTIFACTSTORE|OPENLINEAGE)_[A-Z_]+)", source.read_text())
    }
    assert read == listed


def test_every_recorded_variable_is_documented():
    source = next(path for path in SOURCES if "_VARIABLES: Final = (" in path.read_text())
    recorded = re.search(r"_VARIABLES: Final = \((.*?)\)", source.read_text(), re.DOTALL)
    assert recorded is not None
    page = (ROOT / "docs/reference/environment.md").read_text()
    for name in re.findall(r'"([A-Z_]+)"', recorded[1]):
        assert f"`{name}`" in page


def test_every_error_is_documented_with_its_exit_code():
    from artifactstore import errors
    from artifactstore.cli.process import EXIT_CODES

    page = (ROOT / "docs/reference/errors.md").read_text()
    for name in errors.__all__:
        kind = getattr(errors, name).kind
        if name != "ArtifactStoreError":
            assert re.search(rf"^\| `{name}` \|.*\| `{kind}` \| {EXIT_CODES[kind]} \|", page, re.MULTILINE), name


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        path = page.relative_to(ROOT / "docs").as_posix()
        assert path in text or re.match(r"decisions/\d{4}-", path), f"mkdocs.yml does not name {path}"


def test_the_committed_pictures_are_drawn_by_the_script():
    script = (ROOT / "docs/pictures.py").read_text() + (ROOT / "docs/charts.py").read_text()
    for picture in (ROOT / "docs/pictures").iterdir():
        assert f'"{picture.name}"' in script


def test_the_charts_show_the_figures_of_the_results(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    charts: Any = import_module("charts")
    for name, chart in charts.CHARTS.items():
        body = chart(lambda _title, _width, _height, parts: "".join(parts))
        assert len(body) > 1000
        assert body in (ROOT / "docs/pictures" / name).read_text(), (
            f"{name} is older than results.md: run python docs/pictures.py"
        )


def test_the_picture_of_the_storeys_has_all_packages():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers" and one["containers"] == ["artifactstore"])
    picture = (ROOT / "docs/pictures/storeys.svg").read_text()
    for name in re.split(r"[|:,]", ",".join(layers)):
        assert f">{name.strip()}</text>" in picture, f"{name.strip()} is missing: run python docs/pictures.py"
