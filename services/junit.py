"""Results of scenarios as JUnit XML, which the servers of continuous integration read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from parcours.services.scenarios import ScenarioFailure, ScenarioResult

# Source: XML 1.0, section 2.2: characters that a document cannot hold, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(results: Sequence[ScenarioResult]) -> bytes:
    """Return the results as one JUnit document in UTF-8: a suite for each file, a case for each scenario."""
    root = ElementTree.Element("testsuites", _counts(results))
    by_file: dict[str, list[ScenarioResult]] = {}
    for each in results:
        by_file.setdefault(str(each.file), []).append(each)
    for file, own in by_file.items():
        suite = ElementTree.SubElement(root, "testsuite", {"name": _text(file), **_counts(own)})
        for each in own:
            about = {"name": _text(each.name), "classname": _text(file), "file": _text(file), "line": str(each.line)}
            case = ElementTree.SubElement(suite, "testcase", {**about, "time": f"{each.seconds:.3f}"})
            if each.failures:
                kind = "error" if each.broken else "failure"
                told = ElementTree.SubElement(case, kind, {"message": _text(_sentence(each.failures[0]))})
                told.text = _text("\n".join(line for failure in each.failures for line in _lines(failure)))
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _counts(results: Sequence[ScenarioResult]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not each.passed and not each.broken for each in results)),
        "errors": str(sum(each.broken for each in results)),
        "time": f"{sum(each.seconds for each in results):.3f}",
    }


def _sentence(failure: ScenarioFailure) -> str:
    return f"{failure.place}: {failure.sentence}"


def _lines(failure: ScenarioFailure) -> list[str]:
    return [_sentence(failure), *failure.path]


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
