"""Redaction of secrets in automatically recorded text: command lines, parameters, exception messages, lock files, cells.

Redacted parts are marked, and a value once redacted for its name is hidden wherever it appears later: a password that was an
argument appears again in an exception's message. All text passes through this one module, so that no caller has its own rules.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import PurePath
from typing import Any, Final

from artifactstore.model.secret_names import MARK, Weight, is_harmless, weight_of

__all__ = ["MARK", "Redactor", "late"]

_REMEMBERED: Final = 2000  # secret values that are hidden wherever they appear
_SHORTEST: Final = 8  # characters of such a value: hiding shorter ones would garble text


def late(pattern: str, flags: int = 0) -> Callable[[], "re.Pattern[str]"]:
    """Return a pattern that is compiled on first use: most processes never need these, and all would pay for them."""
    return cache(partial(re.compile, pattern, flags))


def _each(words: str) -> list[str]:
    return words.split()


# -- secrets recognisable by their form

_SHAPES: Final = late(
    r"""
    -----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----.*?(?:-----END\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)
    | (?<![A-Za-z0-9])(?:
        (?:AKIA|ASIA)[A-Z0-9]{16}
      | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,}
      | gl[a-z]{2,5}-[\w=.-]{16,}
      | xox[a-z]-[\w-]{10,} | xapp-[\w-]{10,}
      | hf_(?=[A-Za-z]*[A-Z0-9])[A-Za-z0-9]{16,}
      | sk-(?:proj|svcacct|admin|ant|or|lf)-[\w-]{12,} | sk-(?=\w*\d)(?=\w*[A-Z])\w{16,}
      | [sr]k_(?:live|test)_\w{10,} | whsec_\w{16,}
      | AIza[\w-]{30,} | ya29\.[\w.-]{10,} | GOCSPX-[\w-]{16,} | 1//0[\w-]{20,}
      | eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*
      | pypi-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{16,} | npm_[A-Za-z0-9]{20,} | rubygems_[a-f0-9]{40,} | dckr_(?:pat|oat)_[\w-]{16,}
      | SG\.[\w-]{16,}\.[\w-]{16,} | dapi[a-f0-9]{32}(?:-\d)? | do[opr]_v1_[a-f0-9]{40,} | shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}
      | hv[sbr]\.[\w-]{20,} | dp\.[a-z]+\.\w{30,} | pscale_[a-z]+_[\w.-]{30,} | lin_api_\w{30,} | ntn_\w{30,} | gls?a_\w{30,} | glc_\w{30,}
      | NRAK-[A-Z0-9]{20,} | ATATT3[\w=-]{30,} | r8_[A-Za-z0-9]{30,} | gsk_[A-Za-z0-9]{30,} | xai-[A-Za-z0-9]{30,} | pplx-[A-Za-z0-9]{30,}
      | pcsk_\w{30,} | lsv2_[a-z]+_\w{30,} | wandb_v1_\w{20,} | tskey-[\w-]{16,} | AGE-SECRET-KEY-1[A-Z0-9]{30,} | sbp_[a-f0-9]{40}
      | CCIPAT_\w{20,} | sntrys_[\w=+/-]{20,} | figd_[\w-]{20,} | \d{8,10}:AA[\w-]{30,} | key-[0-9a-f]{32}(?![0-9a-f]) | [\w~.-]{3}\dQ~[\w~.-]{31,34}
      | [A-Za-z0-9+/]{86}==
    )
    | (?<=hooks\.slack\.com/services/)[\w/]+ | (?<=/api/webhooks/)[\w/-]+ | (?<=\.webhook\.office\.com/)[\w@/-]+
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_AWS_ID: Final = late(r"A[KS]IA[A-Z0-9]{16}")
_AWS: Final = late(
    r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])"
)  # an AWS secret key, recognised by the id next to it

# -- URLs

_LOGIN: Final = late(r"(?i)(?<![a-z0-9])([a-z][a-z0-9+.-]{0,30}://)([^/\s@:\"']*)(:[^/\s]*)?@")
_QUERY: Final = late(r"(?i)([?&;#]|%26|%3F)([a-z][\w.%-]*)(=|%3D)([^&\s\"'#;<>]+)")
_IN_QUERIES: Final = frozenset(
    {"sig", "signature", "key", "code", "x-amz-signature", "x-goog-signature", "x-amz-credential", "se_sig"}
)
_CONDA: Final = late(r"(?i)(https?://[^/\s]+(?:/[\w.-]+)?/t/)[\w-]{6,}(?=/)")

# -- names with values

_AUTHORIZATION: Final = late(
    r"""(?i)((?:proxy-)?authorization["']?\s*[:=]\s*+["']?+)(?!\[redacted\])
    ((?:digest|aws4-hmac-sha256|oauth|hawk)\s[^"'\r\n]*|(?:[a-z][\w-]*\s+)?[^\s"',;]+)""",
    re.VERBOSE,
)
_COOKIE: Final = late(r"""(?i)(\b(?:set-)?cookie["']?\s*:\s*+["']?+)(?!\[redacted\])([^"'\r\n]+)""")
_SCHEME: Final = late(r"(?i)\b(bearer|basic)(\s+)([\w.~+/=-]{6,})")
_NAMED: Final = late(r"""(?<![\w.\-])(\\?["']?)(-{0,2}[A-Za-z_][\w.\-]{0,200}+)\1(\s*(?::=|=>|=(?!=)|:(?!//))\s*)""")
_OPTION: Final = late(r"""(?<![\w\-])(-{1,2}[A-Za-z][\w.\-]{0,80}+)(\s+|["'],\s*(?=["']))""")
_VALUE: Final = late(
    r"""\\"(?:[^"\\]|\\[^"])*\\" | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | \[[^\]\[]*\] | [^\s"'&;|<>]+""", re.VERBOSE | re.DOTALL
)
_ENDS: Final = late(r",(?=\s|[\w-]+\s*[=:]|$)|[)\]}]+(?=[\s,.;]*$)|[.,]$")
_NETRC: Final = late(r"(?i)(\blogin\s+\S+\s+(?:account\s+\S+\s+)?password\s+)(?!\[redacted\])(\S+)")
_NETRC_ALONE: Final = late(r"(?im)(^\s*password\s+)(?!\[redacted\])(\S+)(?=\s*$)")
_PGPASS: Final = late(r"(?m)(?<!\S)([\w.*-]+:(?:\d{4,5}|\*):[^:\s]+:[^:\s]+:)(?!\[redacted\])(\S+)(?!\S)")
_PLAIN: Final = late(r"[A-Za-z][a-z']*[.,;!?)]*")
_IS_OPTION: Final = late(r"-{1,2}[A-Za-z][\w.\-]*|[\w.\-]+:")  # or a header, split into words
_SCHEMES: Final = frozenset({"bearer", "basic", "token"})
_OWN_OPTION: Final = late(r"--[A-Za-z][\w-]*(?:=.*)?|-[A-Za-z]", re.DOTALL)

# -- programs whose short options are logins: program → (options before a password, options that it is glued to)

_PROGRAMS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    **dict.fromkeys(("curl", "http", "https", "xh"), (("-b",), ())),
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb", "mariadb-dump", "mycli"), ((), ("-p",))),
    "sshpass": (("-p",), ("-p",)),
    **dict.fromkeys(("login", "mongo", "mongosh", "mongodump", "cqlsh"), (("-p",), ())),
    **dict.fromkeys(("redis-cli",), (("-a",), ())),
    **dict.fromkeys(("ldapsearch", "ldapmodify", "ldapadd"), (("-w",), ())),
    **dict.fromkeys(("sqlcmd", "bcp", "isql", "zip", "unzip"), (("-P",), ("-P",))),
    **dict.fromkeys(("7z", "7za", "7zr", "rar", "unrar"), ((), ("-p",))),
    "smbclient": ((), ()),
    "psexec": (("-p",), ()),
    "openssl": ((), ()),  # pass:…
}
_WITH_USER: Final[Mapping[str, tuple[str, ...]]] = {  # program → options before user:password
    **dict.fromkeys(("curl", "http", "https", "xh", "smbclient"), ("-u", "--user", "-U", "--proxy-user", "-a", "--auth")),
}
_PROGRAM: Final = late(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _PROGRAMS))})(?![\w-])")

# Lower-case text without any of these contains no secrets: this check costs microseconds for most text.
_HINTS: Final = (
    "http ", "https ", "xh ", "/t/", "hooks.slack", *(f"{before}pat{behind}" for before in "_-" for behind in " =:\"'"),
    *_each(
    "pass pwd pw secret token key auth cred cookie bearer basic jwt sas otp sig code conn webhook session akia asia ghp_ gho_ ghu_ ghs_ "
    "ghr_ github_pat glpat gldt glrt glcbt glptt glft glsoat glagent gloas glimt glffct glsa_ glc_ xox xapp- hf_ sk- sk_ rk_ whsec aiza "
    "ya29 gocspx 1//0 eyj pypi- npm_ gems_ dckr_ sg. dapi op_v1 oo_v1 or_v1 shp hvs. hvb. hvr. dp. pscale lin_api ntn_ nrak atatt r8_ "
    "gsk_ xai- pplx pcsk lsv2 wandb_v1 sbp_ ccipat sntrys figd_ /bot telegram q~ == curl mysql mariadb mycli mongo redis ldap sqlcmd zip 7z "
    "rar smbclient psexec cqlsh isql bcp login"
    ),
)  # fmt: skip
_LONG: Final = 20_000  # characters: longer text is processed line by line
_LONGEST_SOURCE: Final = 200_000

_QUOTED_LITERAL: Final = late(
    r"""(?i)[rbuf]{0,2}(\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""", re.DOTALL
)
_SHELL_LINE: Final = late(r"(?m)^[ \t]*[!%].*$")


class Redactor:
    """Redacts secrets in text, command lines and JSON values, and remembers the values redacted for their names.

    Args:
        known: values that are certainly secrets.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self.know(known)

    def know(self, values: Iterable[str]) -> None:
        """Hide these values wherever they appear from now on; short values and plain words are ignored."""
        for value in values:
            worth = len(value) >= 2 * _SHORTEST or (len(value) >= _SHORTEST and not value.isalpha())
            if worth and not value.isspace() and MARK not in value and len(self._known) < _REMEMBERED:
                self._known.add(value)

    def _take(self, value: str) -> str:
        self.know((value,))
        return MARK

    def text(self, text: str) -> str:
        """Return a text with its secrets redacted."""
        if self._known:
            for value in sorted(self._known, key=len, reverse=True):
                if value in text:
                    text = text.replace(value, MARK)
        if len(text) > _LONG:
            text = _SHAPES().sub(MARK, text) if "PRIVATE KEY" in text else text  # of many lines
            return "".join(map(self._line, text.splitlines(keepends=True)))
        return self._line(text)

    def _line(self, text: str) -> str:
        low = text.lower()
        if not any(hint in low for hint in _HINTS) and not ("://" in low and "@" in low) and low.count(":") < 4:
            return text
        text = self._plain(text)
        return self._by_programs(text) if _PROGRAM().search(text) else text

    def _plain(self, text: str) -> str:
        """Redact secrets recognisable by their form, or by the name before them."""
        if _AWS_ID().search(text):
            text = _AWS().sub(MARK, text)
        text = _SHAPES().sub(MARK, text)
        text = _LOGIN().sub(_without_login, text)
        text = _CONDA().sub(rf"\1{MARK}", text)
        text = _QUERY().sub(self._query, text)
        text = _AUTHORIZATION().sub(rf"\1{MARK}", text)
        text = _COOKIE().sub(rf"\1{MARK}", text)
        text = _SCHEME().sub(lambda m: m[0] if _is_prose(m[3]) else f"{m[1]}{m[2]}{MARK}", text)
        text = _PGPASS().sub(lambda m: m[1] + self._take(m[2]), text)
        text = _NETRC().sub(lambda m: m[1] + self._take(m[2]), text)
        text = _NETRC_ALONE().sub(lambda m: m[1] + self._take(m[2]), text)
        text = self._valued(text, _NAMED())
        return self._valued(text, _OPTION())

    def _query(self, match: re.Match[str]) -> str:
        name, value = match[2].lower(), match[4]
        weight = Weight.ALWAYS if name in _IN_QUERIES else weight_of(name)
        short = name in {"key", "code"} and (len(value) < 12 or value.isalpha())
        if short or is_harmless(value, weight):
            return match[0]
        return f"{match[1]}{match[2]}{match[3]}{self._take(value)}"

    def _valued(self, text: str, names: re.Pattern[str]) -> str:
        """Redact the values of secret names: `names` matches a name and the separator before its value."""
        parts: list[str] = []
        done, group = 0, names.groups - 1  # of the name
        for match in names.finditer(text):
            if match.start() < done:
                continue
            weight = weight_of(match[group])
            value = _VALUE().match(text, match.end()) if weight else None
            if value is None:
                continue
            begin, end = value.span()
            found = value[0]
            if names is _OPTION() and _OWN_OPTION().fullmatch(found):
                continue
            quote = next((one for one in ('\\"', '"', "'") if found.startswith(one) and len(found) >= 2 * len(one)), "")
            if not quote and not found.startswith("["):
                cut = _ENDS().search(found)
                end = begin + (len(found) if cut is None else cut.start())
            inner = text[begin + len(quote) : end - len(quote)]
            if is_harmless(inner, weight) or (not quote and self._is_prose_value(text, match, inner, names)):
                continue
            parts += [text[done:begin], quote, self._take(inner), quote]
            done = end
        return "".join([*parts, text[done:]])

    @staticmethod
    def _is_prose_value(text: str, match: re.Match[str], value: str, names: re.Pattern[str]) -> bool:
        """Whether it is prose: `invalid token: unexpected`; a line of YAML (`token: abc`), or a quoted name, is not."""
        name = match[names.groups - 1]
        identifier = not name.isalpha() or not name[1:].islower()
        if names is _OPTION() or "=" in match[3] or match[1] or identifier or "pass" in name.lower():
            return False
        begins = text[: match.start()].rpartition("\n")[2].strip(" \t-{,[")
        return bool(begins) and _PLAIN().fullmatch(value) is not None

    # -- command lines

    def words(self, command: Sequence[str]) -> list[str]:
        """Return a command line, given as its words, with its secrets redacted."""
        found, weight, logins = [], Weight.NONE, _Logins()
        with_aws = any(_AWS_ID().search(word) for word in command)
        for word in command:
            if weight and not _OWN_OPTION().fullmatch(word):
                found.append(word if is_harmless(word, weight) or word.lower() in _SCHEMES else self._take(word))
                weight = weight if word.lower() in _SCHEMES else Weight.NONE
                continue
            found.append(self._word(word, logins, with_aws=with_aws))
            weight = weight_of(word) if _IS_OPTION().fullmatch(word) else Weight.NONE
        return found

    def _word(self, word: str, logins: "_Logins", *, with_aws: bool) -> str:
        shown = logins.take(word, self._take)
        if shown is not None:
            return shown
        name, sign, value = word.partition("=")
        weight = weight_of(name) if sign and not re.search(r"[\s:/?&]", name) else Weight.NONE
        if weight:
            return word if is_harmless(value, weight) else f"{name}={self._take(value)}"
        if with_aws and _AWS().fullmatch(word):
            return MARK
        return self.text(word)

    def _by_programs(self, text: str) -> str:
        """Redact logins in short options of programs that are called in a text."""
        logins = _Logins()
        pieces = re.split(r"(\s+)", text)
        for number, piece in enumerate(pieces):
            core = piece.strip("'\"[](),;` \t\r\n")
            shown = logins.take(MARK if MARK in piece else core, self._take) if core else None
            if shown is not None:
                pieces[number] = piece.replace(core, shown)
        return "".join(pieces)

    # -- values

    def value(self, value: Any, name: str = "") -> Any:
        """Return a JSON value with its secrets redacted; `name` is its name."""
        return self._of(value, weight_of(name))

    def _of(self, value: Any, weight: Weight) -> Any:
        if isinstance(value, str):
            return self.text(value) if is_harmless(value, weight) else self._take(value)
        if isinstance(value, Mapping):
            named = value.get("name", value.get("key"))
            inside = Weight.NONE if weight is Weight.TOKEN else weight  # all of `credentials`, but not of a `token` with settings
            beside = weight_of(named) if isinstance(named, str) and "value" in value else Weight.NONE
            return {
                self.text(key) if isinstance(key, str) else key: self._of(
                    one, max(inside, weight_of(str(key)), beside if key == "value" else Weight.NONE)
                )
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            if not weight and value and all(isinstance(one, str) for one in value):
                return self.words(value)
            return [self._of(one, weight) for one in value]
        if isinstance(value, int | float) and not is_harmless(value, weight):
            return MARK
        return value

    def source(self, text: str) -> str:
        """Return source code with the secrets in its literals redacted: all else stays, so that it is still a valid program."""
        if len(text) > _LONGEST_SOURCE or text.lstrip().startswith("%%"):
            return self.text(text)
        text = _SHELL_LINE().sub(lambda m: self.text(m[0]), text)
        parts: list[str] = []
        done = 0
        for match in _QUOTED_LITERAL().finditer(text):
            before = text[max(0, match.start() - 100) : match.start()]
            named = re.search(r"""([A-Za-z_][\w.-]*)["']?\]?\s*(?:=|:|,)\s*\Z""", before)
            quote = match[1][:3] if match[1][:3] in {'"""', "'''"} else match[1][:1]
            inner = match[1][len(quote) : -len(quote)]
            weight = weight_of(named[1]) if named is not None else Weight.NONE
            if named is not None and named[1] == "key" and re.search(r"(?:login|init|configure)\([^)]*\Z", before):
                weight = Weight.TOKEN
            shown = self.text(inner) if is_harmless(inner, weight) else self._take(inner)
            if shown != inner:
                parts += [text[done : match.start(1)], quote, shown, quote]
                done = match.end()
        return "".join([*parts, text[done:]])


class _Logins:
    """Detects which of the following words are logins, by the programs named before them."""

    def __init__(self) -> None:
        self._behind: set[str] = set()
        self._users: set[str] = set()
        self._glued: set[str] = set()
        self._wait = ""

    def take(self, word: str, take: Callable[[str], str]) -> str | None:
        """Return the redacted form of a word with a login; None for any other."""
        wait, self._wait = self._wait, ""
        if MARK in word:
            return None
        if wait and not _OWN_OPTION().fullmatch(word):
            return _of_user(word, take) if wait in self._users else take(word)
        if word.startswith("pass:") and len(word) > 5:
            return f"pass:{take(word[5:])}"
        if word in self._behind or word in self._users:
            self._wait = word
            return None
        if "-u" in self._users and word.startswith("-u") and (shown := _of_user(word[2:], take)) is not None:
            return f"-u{shown}"
        for option in self._glued:
            if word.startswith(option) and len(word) > len(option):
                return f"{option}{take(word[len(option) :])}"
        program = PurePath(word).name
        behind, glued = _PROGRAMS.get(program, ((), ()))
        self._behind |= {*behind}
        self._glued |= {*glued}
        self._users |= {*_WITH_USER.get(program, ())}
        return None


def _of_user(word: str, take: Callable[[str], str]) -> str | None:
    """Return `user:password` without the password; None for something else, such as `1000:1000`."""
    found = re.fullmatch(r"([^:%]*)([:%])(.+)", word, re.DOTALL)
    if found is None or (found[1].isdecimal() and found[3].isdecimal()):
        return None
    return f"{found[1]}{found[2]}{take(found[3])}"


def _without_login(match: re.Match[str]) -> str:
    scheme, user, password = match[1], match[2], match[3]
    if password is None and not scheme.lower().endswith(("http://", "https://")):
        return match[0]  # a user name only, or a container: ssh://git@host, abfss://box@account
    return match[0] if user == MARK or (user + (password or "")).strip(":") == "" else f"{scheme}{MARK}@"


def _is_prose(text: str) -> bool:
    return text.islower() and text.isalpha()
