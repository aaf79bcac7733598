"""What an artifact looks like: one line, and a card for notebooks that runs and hides nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

from artifactstore.store import Store


def test_one_line_says_what_it_is(store: Store, folder: Path):
    made = store.put(folder, "churn/features")
    assert re.fullmatch(r"churn/features:v1  blake3:[0-9a-f]{12}…  7 files  230\.5 kB", repr(made))
    assert repr(store.put(folder, "churn/features")).endswith("  (unchanged)")
    assert "unchanged" not in repr(store.artifact("churn/features"))
    assert re.fullmatch(r"blake3:[0-9a-f]{12}…  1 file  1 bytes", repr(store.put(b"x")))


class Tags(HTMLParser):
    """Which tags and attributes there are, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_card_shows_all_that_is_known_and_escapes_it(store: Store, tmp_path: Path):
    root = tmp_path / "evil"
    (root / "deep/<b>er").mkdir(parents=True)
    (root / "deep/<b>er/<script>alert(1)<").write_bytes(b"x" * 2000)
    (root / 'a"onclick="x').write_bytes(b"y")
    store.put(root, "n", metadata={"<u>": "</div><script>", "source": "crm"}, metrics={"auc": 0.91})
    tags = Tags(store.artifact("n")._repr_html_())
    assert not tags.open
    assert tags.seen <= {"div", "b", "span", "code", "table", "tr", "td", "details", "summary", "pre"}
    assert tags.attributes <= {"style", "title"}
    for shown in (
        "n:v1",
        "2 files",
        "2.0 kB",
        "metric auc",
        "0.91",
        "metadata source",
        "crm",
        "<script>alert(1)<",
        "deep/",
        "<b>er/",
        "</div><script>",
    ):
        assert shown in tags.text


def test_a_large_folder_shows_its_beginning(store: Store, tmp_path: Path):
    (tmp_path / "many").mkdir()
    for number in range(230):
        (tmp_path / f"many/{number:03}").write_bytes(b"")
    text = store.put(tmp_path / "many", "n")._repr_html_()
    assert "000 … 229  " in text
    assert "230 files, 0 bytes" in text


def test_the_card_of_what_was_removed_meanwhile_still_says_what_it_was(store: Store):
    made = store.put(b"x", "n")
    for path in (Path(store.url) / "manifests").rglob("*.parquet"):
        path.unlink()
    again = type(store)(type(store._session)(store.url, cache=None)).artifact("n")
    assert "n:v1" in again._repr_html_()
    assert made.digest in again._repr_html_()


def test_nothing_in_a_card_or_a_list_turns_the_direction_of_a_line(store: Store, tmp_path: Path):
    turned = "report\u202efdp.exe"
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / turned).write_text("x")
    made = store.put(tmp_path / "many", "n", metadata={turned: turned, "lines": "one\ntwo <b>"})
    for html in (made._repr_html_(), made.files._repr_html_()):
        assert "\u202e" not in html
        assert "report\\u202efdp.exe" in html
    assert "one\ntwo &lt;b&gt;" in made._repr_html_()


def test_a_card_is_bounded_whatever_is_said_of_an_artifact(store: Store):
    text = store.put(b"x", "n", metadata={f"{i:04} {'k' * 2000}": "v" * 2000 for i in range(1000)})._repr_html_()
    assert len(text) < 500_000
    assert "… 800 more" in text
