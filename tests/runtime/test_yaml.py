"""The YAML that tools write and people edit: read as other readers do, and never more than that."""

import random
from contextlib import suppress
from typing import Any

import pytest

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.yaml.reader import parse_yaml

WORDS = [
    "a", "on", "x: y", "# c", "a #b", "it's", 'say "x"', "multi\nline\n", "\n\nlead", "trail ", "  ind", "é🎉", "0x1", "-", "- a", "? a", "null",
    "~", "true", "", "a" * 200 + " b" * 60, "tab\tx", "'", "&a", "*b", "!t", "%", "@", "[x]", "{y}", "a,b", "a:b", ":", "\x07", "2001-01-01",
    " a\n b\n\n  c\n", "w " * 80, "x\n\n\ny " * 30, "1_000", "<<", "=",
]  # fmt: skip
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{k}: &{k} [{','.join([f'*{j}'] * 9)}]\n" for j, k in zip("abcdefgh", "bcdefghi", strict=True)
)


def some(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.random()
    if depth > 4 or kind < 0.5:
        return draw.choice(
            [draw.choice(WORDS), draw.randint(-999, 999), draw.random() * 10.0 ** draw.randint(-9, 9), True, False, None]
        )
    if kind < 0.75:
        return [some(draw, depth + 1) for _ in range(draw.randint(0, 4))]
    return {draw.choice(WORDS).replace("\n", " ")[:40] or "k": some(draw, depth + 1) for _ in range(draw.randint(0, 4))}


def test_it_reads_what_another_library_writes_in_every_style() -> None:
    yaml = pytest.importorskip("yaml")
    draw = random.Random(7)
    for _ in range(300):
        value = some(draw)
        text = yaml.safe_dump(
            value,
            default_flow_style=draw.choice([True, False, None]),
            width=draw.choice([20, 80, 1000]),
            indent=draw.choice([2, 4]),
            allow_unicode=draw.choice([True, False]),
            default_style=draw.choice([None, None, '"', "'", "|", ">"]),
            explicit_start=draw.choice([True, False]),
        )
        if "!!" not in text:  # a tag
            assert parse_yaml(text, "x") == value, text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        (
            "a: 1e-05\nb: 0o17\nc: 0x1F\nd: .inf\ne: 1_000\nf: 012\n",
            {"a": 1e-05, "b": 15, "c": 31, "d": float("inf"), "e": "1_000", "f": 12},
        ),
        ("a: yes\nb: on\nc: ~\nd: True\n", {"a": "yes", "b": "on", "c": None, "d": True}),
        (f"a: {'9' * 400}\n", {"a": "9" * 400}),
        ("outs:\n- md5: abc\n  path: x\n-\n  - y\n", {"outs": [{"md5": "abc", "path": "x"}, ["y"]]}),
        ("a: long text\n  that goes on\n\n  further # comment\nb: 1\n", {"a": "long text that goes on\nfurther", "b": 1}),
        ("a: |\n  one\n   two\n\nb: >-\n  one\n  two\n\n  three\n", {"a": "one\n two\n", "b": "one two\nthree"}),
        ("a: {b: [1, 'x, y'], \"c\": d, e: }\n", {"a": {"b": [1, "x, y"], "c": "d", "e": None}}),
        ("a: [1,\n  2, # two\n  {b: c}\n]\nd: 1\n", {"a": [1, 2, {"b": "c"}], "d": 1}),
        ("base: &base {x: 1}\nmore:\n  <<: *base\n  y: 2\n", {"base": {"x": 1}, "more": {"x": 1, "y": 2}}),
        ('a: "\\ud83d\\ude00"\n', {"a": "😀"}),
        ("--- # start\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1\r\nb: 2\r\n".encode(), {"a": 1, "b": 2}),
        ("cmd: python x.py --a=b:c http://x/y#z\n", {"cmd": "python x.py --a=b:c http://x/y#z"}),
    ],
)
def test_it_reads_the_core_schema(text: str | bytes, value: Any) -> None:
    assert parse_yaml(text, "x") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "line 6: aliases repeat more than 100,000 values"),
        ("a: &a [*a]\n", "no anchor above"),
        ("[" * 100_000, "does not end"),
        ("[" * 100 + "]" * 100, "more than 64 levels"),
        ("- " * 100 + "x\n", "more than 64 levels"),
        ("a: !!python/object/apply:os.system ['x']\n", "line 1: tags"),
        ("%YAML 1.2\n---\na: 1\n", "directives"),
        ("a: 1\n---\nb: 2\n", "line 2: expected one document"),
        ("a: 'x\n", "does not end"),
        ('a: "' + "\n\\" * 30_000, "does not end"),
        ("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n", "colon"),
        ("a: 1\na: 2\n", "line 2: the key 'a' is there twice"),
        ("a: {b: 1, b: 2}\n", "there twice"),
        ("\ta: 1\n", "a tab"),
        ("a:\n    b: 1\n  c: 2\n", "line 3"),
        ("a: b: c\n", "colon"),
        ('x: "\\xZZ"\n', "escape"),
        ('x: "\\UFFFFFFFF"\n', "no character"),
        ('x: "\\uD800"\n', "half of a character"),
        ("a: @x\n", "cannot begin with '@'"),
        ("? a\n: b\n", "line"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_anything_else_is_refused_with_its_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        parse_yaml(text, "file.yaml")
    assert str(caught.value).startswith("file.yaml")


def test_what_was_cut_or_changed_anywhere_is_read_or_refused() -> None:
    draw = random.Random(3)
    text = "stages:\n  train@1:\n    cmd: |\n      a\n      b\n    deps:\n    - {path: x, md5: 'ab'}\n    params: &p [1, \"a\\n\", *q]\n"
    for _ in range(800):
        data = list(text[: draw.randint(0, len(text))])
        for _ in range(draw.randint(0, 3)):
            if data:
                data[draw.randrange(len(data))] = draw.choice("\n\t '\"[]{}:,#&*!|>-?%@`\\ax")
        with suppress(InvalidInputError):
            parse_yaml("".join(data), "x")
