"""What a shell may offer for the last word of a command line; asked by `artifactstore __complete`.

Reads what the cache has, and nothing else: no store is opened and no server is asked. Imports little, so that the answer comes within a
tenth of a second; whatever fails, it offers nothing and prints no error.

The answer: one candidate a line, perhaps with a tab and a remark. The first line says how to go on: `space` (a chosen word is
complete), `nospace` (more may follow), or `files` (the shell offers its files, too).
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from artifactstore.runtime.local_files import read_own
from artifactstore.work.session.name_list import NameList, read_paths
from artifactstore.work.settings.configuration import configuration, user_folder

__all__ = ["answer", "candidates", "split"]

_MOST: Final = 200  # names that are offered at once; of more, their first parts
_VERSIONS: Final = 50  # versions that are offered, the newest
_PLACE: Final = 4  # columns of a named store's remark
_FOLLOWING: Final = ("@blake3:", "@sha256:")


class Offer(NamedTuple):
    """What a shell may offer.

    Attributes:
        how: `space`, `nospace` or `files`.
        words: (candidate, remark).
    """

    how: str
    words: list[tuple[str, str]]


def answer(arguments: list[str], load: Callable[[], None]) -> int:
    """Print the answer to a shell: its name, then its command line up to the cursor.

    bash and PowerShell pass the line as one text, bash also the characters at which it breaks words; zsh and fish pass the words, the
    last as it is typed.
    """
    try:
        warnings.simplefilter("ignore")
        shell, *rest = arguments
        words = split(rest[0], shell) if shell in {"bash", "powershell"} else [*rest[:-1], split(rest[-1])[-1]]
        offer = candidates(words[1:], load)
        cut = 0
        if shell == "bash":
            # bash completes what comes after the last of its break characters.
            breaks = rest[1] if len(rest) > 1 else ""
            cut = max((words[-1].rfind(sign) + 1 for sign in breaks if sign in ":=@"), default=0)
        remarks = shell != "bash"
        lines = [f"{word[cut:]}\t{remark}" if remark and remarks else word[cut:] for word, remark in offer.words]
        sys.stdout.write("\n".join([offer.how, *lines]) + "\n")
        sys.stdout.flush()
    except Exception:  # noqa: BLE001, S110 - a message would appear in the middle of the line that the user types
        pass
    return 0


def split(line: str, shell: str = "bash") -> list[str]:
    """Split a command line as a shell does, as far as it goes: a quote may be open. The last word is what is being typed, perhaps empty."""
    escape = "`" if shell == "powershell" else "\\"
    words, word, quote, begun = [], "", "", False
    signs, last = iter(line), ""
    for sign in signs:
        closed, last = last, ""
        if sign == escape and quote != "'":
            word += next(signs, "")
            begun = True
        elif quote:
            quote, word, last = ("", word, sign) if sign == quote else (quote, word + sign, "")
        elif sign == closed and shell == "powershell":
            quote, word = sign, word + sign  # a quote that is doubled is part of the word
        elif sign in "'\"":
            quote, begun = sign, True
        elif sign in " \t":
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + sign, True
    return [*words, word]


def _in_order(words: list[str]) -> list[str]:
    """Put `--store URL` and `--json` that are before the command behind it, as the command line does; the last word is being typed."""
    at = 0
    while at < len(words) - 1 and (words[at] in {"--store", "--json"} or words[at].startswith("--store=")):
        at += 2 if words[at] == "--store" else 1
    rest = words[at:]
    if not rest:
        return ["ls", *words]  # a URL is being typed
    return [rest[0], *words[:at], *rest[1:]] if len(rest) > 1 else rest


def candidates(words: list[str], load: Callable[[], None]) -> Offer:
    """Return what may be offered for the last of the words behind the program's name; `load` imports all commands."""
    words = _in_order(words)
    *before, word = words or [""]
    cache = _cache()
    commands = _commands(cache, load)
    name = next((one for one in before if not one.startswith("-")), None)
    if name is None:
        if word.startswith("-"):
            return _matching(word, [("--version", ""), ("--help", "")])
        return _matching(word, [(one, about["help"]) for one, about in commands.items()])
    command = commands.get(name)
    if command is None:
        return Offer("files", [])
    options = command["options"]
    given, positional, pending, url, is_over = before[before.index(name) + 1 :], [], None, None, False
    for one in given:
        if pending is not None:
            url = one if pending == "--store" else url
            pending = None
        elif one == "--":
            is_over = True
        elif one.startswith("-") and len(one) > 1 and not is_over:
            option, sign, value = one.partition("=")
            if options.get(option, {}).get("kind"):
                url = value if option == "--store" and sign else url
                pending = None if sign else option
        else:
            positional.append(one)
    if is_over and name == "run":
        return Offer("files", [])  # the words of the program
    if pending is not None:
        return _values(options[pending], word, cache, (url, positional))
    if word.startswith("-") and not is_over:
        option, sign, value = word.partition("=")
        if sign and options.get(option, {}).get("kind"):
            found = _values(options[option], value, cache, (url, positional))
            return Offer(found.how, [(f"{option}={one}", remark) for one, remark in found.words])
        return _matching(word, [(one, about["help"]) for one, about in options.items() if one.startswith("--") or len(word) == 2])
    arguments = command["arguments"]
    if not arguments:
        return Offer("space", [])
    if len(positional) >= len(arguments) and not command["repeats"]:
        return Offer("space", [])
    return _values(arguments[min(len(positional), len(arguments) - 1)], word, cache, (url, positional))


def _matching(word: str, offered: list[tuple[str, str]], how: str = "space") -> Offer:
    return Offer(how, [one for one in offered if one[0].startswith(word)])


def _values(about: Any, word: str, cache: Path | None, given: tuple[str | None, list[str]]) -> Offer:
    """Return the values of an option or an argument; `given` is the store, and the arguments before it."""
    kind, (url, before) = about["kind"], given
    if about.get("values"):
        return _matching(word, [(one, "") for one in about["values"]])
    if kind == "text":
        return Offer("space", [])
    if kind == "file":
        return Offer("files", [])
    if kind == "store":
        stores = [(name, one.url) for name, one in sorted(configuration().stores.items())]
        return Offer("files", _matching(word, stores).words)
    if kind == "ref=file" and "=" in word:
        return _files(word)
    folder = None if cache is None else _folder(cache, url)
    if folder is None:
        return Offer("files" if kind == "ref or file" else "nospace", [])
    known = NameList(folder)
    if kind == "alias":
        owners = (known.find(one.partition(":")[0]) for one in before)
        aliases = {alias: f"v{number}" for owner in owners if owner is not None for alias, number in owner.aliases.items()}
        return _matching(word, sorted(aliases.items()))
    if kind == "name":
        return _names(known, word, how="space")
    if kind == "run name":
        names = dict.fromkeys(known.runs().values())
        return _matching(word, [(name, "") for name in names])
    if kind == "run":
        return _matching(word, [(run[:12], name) for run, name in known.runs().items()])
    if kind == "ref=file":
        return _names(known, word)
    found = _references(known, folder, word)
    if kind == "ref or run" and ":" not in word and "@" not in word:
        runs = [(run[:12], f"run {name}") for run, name in known.runs().items() if word and run.startswith(word)]
        found = Offer(found.how, [*found.words, *runs])
    if kind == "ref or file" and ":" not in word:
        return Offer("files", found.words)
    return found


def _names(known: NameList, word: str, how: str = "nospace") -> Offer:
    if word.startswith("./") and (prefix := os.environ.get("ARTIFACTSTORE_PREFIX") or configuration().get("prefix")):
        top = f"{prefix.strip('/')}/"
        full = _names(known, top + word[2:], how)
        return Offer(full.how, [("./" + one.removeprefix(top), remark) for one, remark in full.words])
    names, folders = known.read(word, _MOST)
    words = [(one.name, f"v{one.versions}" if one.versions else "") for one in names]
    words += [(folder, "") for folder in folders]
    return Offer("nospace" if folders else how, words)


def _references(known: NameList, folder: Path, word: str) -> Offer:
    """Return names, after a colon the versions and aliases of one, after `@` its digest, after a slash its paths."""
    name, sign, rest = word.partition(":") if "@" not in word else word.partition("@")
    if not sign:
        found = _names(known, word)
        one = known.find(word)
        if one is not None and len(found.words) == 1:
            return Offer("nospace", [*found.words, *_selectors(one)])
        return found
    one = known.find(name)
    if one is None:
        return Offer("space", [])
    if sign == "@":
        return _matching(word, [(f"{name}@{one.digest}", "the newest version")] if one.digest else [])
    selector, slash, path = rest.partition("/")
    if not slash:
        return Offer("nospace", _matching(word, _selectors(one)).words)
    number = one.versions if selector == "latest" else one.aliases.get(selector)
    if number is None and selector[:1] == "v" and selector[1:].isdecimal():
        number = int(selector[1:])
    paths = [] if number is None else read_paths(folder, name, number)
    return _paths(f"{name}:{selector}/", path, paths)


def _selectors(one: Any) -> list[tuple[str, str]]:
    aliases = [(f"{one.name}:{alias}", f"v{number}") for alias, number in sorted(one.aliases.items())]
    numbers = range(one.versions, max(0, one.versions - _VERSIONS), -1)
    return [(f"{one.name}:latest", ""), *aliases, *((f"{one.name}:v{number}", "") for number in numbers)]


def _paths(before: str, word: str, paths: list[str]) -> Offer:
    """Return the files and folders at the next level below what is typed."""
    level = word.rpartition("/")[0]
    start = len(level) + 1 if level else 0
    found: dict[str, None] = {}
    for path in paths:
        if path.startswith(word):
            name, slash, _ = path[start:].partition("/")
            found[path[:start] + name + slash] = None
    return Offer("nospace" if any(one.endswith("/") for one in found) else "space", [(before + one, "") for one in found])


def _files(word: str) -> Offer:
    """Return the files that the part after `=` may mean: shells look for files at the beginning of a word only."""
    before, _, typed = word.partition("=")
    folder, slash, name = typed.rpartition("/")
    with os.scandir(f"{folder}{slash}" or ".") as listing:
        found = sorted(
            f"{before}={folder}{slash}{one.name}" + ("/" if one.is_dir() else "")
            for one in listing
            if one.name.startswith(name) and (name or not one.name.startswith("."))
        )
    return Offer("nospace" if any(one.endswith("/") for one in found) else "space", [(one, "") for one in found[:_MOST]])


# -- what the machine knows


def _cache() -> Path | None:
    text = os.environ.get("ARTIFACTSTORE_CACHE")
    text = configuration().get("cache") if text is None else text
    if text == "":
        return None
    return Path(text or user_folder("cache")).expanduser().absolute()


def _commands(cache: Path | None, load: Callable[[], None]) -> dict[str, Any]:
    """Return the commands with their options: as they were kept for this version of the program, else from the program itself."""
    from artifactstore.cli.completion.kept import kept_commands  # noqa: PLC0415 - beside the function that keeps them

    found = kept_commands(cache)
    if found is None:
        from artifactstore.cli.completion.spec import keep_commands  # noqa: PLC0415 - all commands, half a second

        load()
        found = keep_commands(cache)
    return found


def _folder(cache: Path, word: str | None) -> Path | None:
    """Return the folder that the cache has for the store that a command would open; None if it has none."""
    configured = configuration()
    text = word or os.environ.get("ARTIFACTSTORE_URL") or None
    if text is None:
        url = configured.get("url")
        text = url or str(Path(user_folder("data")) / "store")
    named = configured.stores.get(text)
    if named is not None:
        text = named.url
    store = _store_at(text) if "://" not in text else _store_behind(cache, text)
    return None if store is None or not store.isalnum() else cache / "stores" / store


def _store_at(path: str) -> str | None:
    try:
        return str(json.loads((Path(path).expanduser() / "store.json").read_bytes())["store"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store_behind(cache: Path, url: str) -> str | None:
    """Return the store at a URL as of the last contact."""
    for path in (cache / "places").glob("*.json"):
        try:
            kept = json.loads(read_own(path))
            if str(kept["url"]).rstrip("/") == url.rstrip("/"):
                return str(json.loads(kept["config"])["store"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
