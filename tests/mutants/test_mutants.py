"""The tables of planted faults fit the code as it is: they are run by hand (README.md), and must not rot until then."""

import re
from collections import Counter

import pytest

from .run import PROJECT, Mutant, mutants

MUTANTS = mutants()


def test_every_fault_can_still_be_planted():
    wrong = []
    for one in MUTANTS:
        path = PROJECT / "artifactstore" / one.file
        try:
            one.plant(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            wrong.append(str(error))
    assert wrong == []


def test_every_fault_has_a_name_of_its_own_and_tests_that_exist():
    assert [name for name, count in Counter(one.name for one in MUTANTS).items() if count > 1] == []
    texts: dict[str, str] = {}
    for one in MUTANTS:
        assert one.tests, one.name
        for test in one.tests:
            file, _, name = test.partition("::")
            if file not in texts:
                texts[file] = (PROJECT / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^(def|class) {name}\(", texts[file], re.MULTILINE), f"{one.name}: there is no {test}"


def test_the_readme_names_a_number_of_faults_that_is_right():
    (count,) = re.findall(r"More than ([\d,]+) one-line faults", (PROJECT / "README.md").read_text(encoding="utf-8"))
    assert int(count.replace(",", "")) < len(MUTANTS) <= 1.5 * int(count.replace(",", ""))


def test_a_fault_whose_text_is_not_there_once_is_refused():
    fault = Mutant("it holds", "some.py", old="x", new="y", tests=())
    assert fault.plant("a x b") == "a y b"
    for text in ("", "x x"):
        with pytest.raises(ValueError, match="expected 1: adapt"):
            fault.plant(text)
