"""JUnit XML, in which CI systems take the results of checks."""

from collections.abc import Sequence

from artifactstore.printable import visible

__all__ = ["junit_xml"]


def junit_xml(suite: str, classname: str, cases: Sequence[tuple[str, bool, str]]) -> str:
    """Return a suite with a test case for each check.

    Args:
        suite: the name of the suite.
        classname: what the checks are of.
        cases: the name of each check, whether it holds, and its text, which is shown where it does not.
    """
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - most verdicts go into no file

    failures = sum(not ok for _, ok, _ in cases)
    root = ET.Element("testsuite", name=visible(suite), tests=str(len(cases)), failures=str(failures), errors="0")
    for name, ok, text in cases:
        case = ET.SubElement(root, "testcase", classname=visible(classname), name=visible(name))
        if not ok:
            ET.SubElement(case, "failure", message=visible(text)).text = visible(text)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
