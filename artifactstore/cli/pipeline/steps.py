"""What a step of a job can do: each returns an outcome, whose words are for the summary and the log."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.cli.pipeline.outcome import Check, Outcome
from artifactstore.cli.process import EXIT_CODES
from artifactstore.cli.registry.arguments import expected
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from artifactstore.store import Store

__all__ = ["STEPS", "VARIABLES", "lines", "of_verdict"]

Values = Mapping[str, str]
# Input → its variable. The composite action and the template for GitLab set them; an empty one is not set.
VARIABLES: Final = {
    "do": "ARTIFACTSTORE_CI_DO",
    "store": "ARTIFACTSTORE_CI_STORE",
    "path": "ARTIFACTSTORE_CI_PATH",
    "name": "ARTIFACTSTORE_CI_NAME",
    "kind": "ARTIFACTSTORE_CI_KIND",
    "metrics": "ARTIFACTSTORE_CI_METRICS",
    "ref": "ARTIFACTSTORE_CI_REF",
    "to": "ARTIFACTSTORE_CI_TO",
    "alias": "ARTIFACTSTORE_CI_ALIAS",
    "reason": "ARTIFACTSTORE_CI_REASON",
    "expect": "ARTIFACTSTORE_CI_EXPECT",
    "keys": "ARTIFACTSTORE_CI_KEYS",
    "level": "ARTIFACTSTORE_CI_LEVEL",
    "fraction": "ARTIFACTSTORE_CI_FRACTION",
    "anchor": "ARTIFACTSTORE_CI_ANCHOR",
    "identity": "ARTIFACTSTORE_CI_IDENTITY",
    "junit": "ARTIFACTSTORE_CI_JUNIT",
    "dotenv": "ARTIFACTSTORE_CI_DOTENV",
}


def _needed(values: Values, do: str, *names: str) -> list[str]:
    """Return values that a step cannot do without.

    Raises:
        InvalidInputError: one is empty.
    """
    lacking = [name for name in names if name not in values]
    if lacking:
        where = ", ".join(f"`{name}` of the action, or ${VARIABLES[name]}" for name in lacking)
        raise InvalidInputError(f"{do} needs {' and '.join(lacking)}: set {where}")
    return [values[name] for name in names]


def _given(values: Values, *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def lines(values: Values, name: str) -> list[str]:
    """Return the lines of an input that has one value a line; blank ones are left out."""
    return [line for line in values.get(name, "").splitlines() if line.strip()]


def _metrics(values: Values) -> dict[str, Any]:
    """Return the metrics of a put: NAME=NUMBER, one a line.

    Raises:
        InvalidInputError: a line has another form.
    """
    found: dict[str, float] = {}
    for line in lines(values, "metrics"):
        name, sign, text = (part.strip() for part in line.partition("="))
        try:
            found[name] = float(text)
        except ValueError:
            sign = ""
        if not sign or not name:
            raise InvalidInputError(f"metrics: {line!r:.100}: expected NAME=NUMBER, one a line")
    return {"metrics": found} if found else {}


def _put(store: "Store", values: Values) -> Outcome:
    path, name = _needed(values, "put", "path", "name")
    made = store.put(path, name, **_given(values, "kind", "reason"), **_metrics(values))
    words = "is new" if made.new else "was there already"
    check = Check(path, ok=True, text=f"{made.ref}, {made.count} files, {made.size} bytes, {words}")
    return Outcome("put", f"{made.ref} {words}", digest=made.digest, ref=made.ref, checks=[check], record={"new": made.new})


def _get(store: "Store", values: Values) -> Outcome:
    ref, to = _needed(values, "get", "ref", "to")
    found = store.artifact(ref)
    store.get(found, to, overwrite=True)
    check = Check(ref, ok=True, text=f"{found.count} files, {found.size} bytes in {to}")
    return Outcome("get", f"{found.ref} is in {to}", digest=found.digest, ref=found.ref, checks=[check])


def _track(store: "Store", values: Values) -> Outcome:
    from artifactstore.integrations import pointers  # noqa: PLC0415 - only where it is asked for

    (path,) = _needed(values, "track", "path")
    made = pointers.track(store, path, values.get("name"), **_given(values, "kind", "reason"))
    found = store.artifact(made.pointer.ref)
    check = Check(path, ok=True, text=f"{made.path}.artifact pins {made.pointer.name}:v{made.pointer.version}")
    return Outcome("track", check.text, digest=found.digest, ref=found.ref, checks=[check])


def _check_pointers(store: "Store", values: Values) -> Outcome:
    from artifactstore.integrations import pointers  # noqa: PLC0415 - as above

    found = pointers.compare(store, lines(values, "path"))
    ok = all(one.state == "same" for one in found)
    checks = [
        Check(str(one.path), ok=one.state == "same", text=one.state + (f" ({one.changes} files)" if one.changes else ""))
        for one in found
    ]
    differ = sum(not one.ok for one in checks)
    title = (
        f"{len(checks)} pointers pin what the working copies are" if ok else f"{differ} of {len(checks)} working copies differ"
    )
    return Outcome("check-pointers", title, EXIT_CODES["ok" if ok else "no"], verdict=ok, checks=checks)


def _checkout(store: "Store", values: Values) -> Outcome:
    from artifactstore.integrations import pointers  # noqa: PLC0415 - as above

    brought = pointers.checkout(store, lines(values, "path"))
    checks = [Check(str(one.path), ok=True, text=f"brought: {one.pointer.name}:v{one.pointer.version}") for one in brought]
    only: dict[str, Any] = {"digest": brought[0].pointer.digest, "ref": brought[0].pointer.ref} if len(brought) == 1 else {}
    return Outcome("checkout", f"{len(brought)} working copies were brought", checks=checks, **only)


def of_verdict(do: str, verdict: Any, code: int) -> Outcome:
    """Return the outcome of what gates say."""
    checks = [Check(f"gate {verdict.alias}: {verdict.ref}", ok=one.ok, text=one.text) for one in verdict.conditions]
    title = f"{verdict.ref} {'passes' if verdict.ok else 'does not pass'} for {verdict.alias}"
    return Outcome(
        do,
        title,
        code,
        verdict=verdict.ok,
        digest=verdict.digest,
        ref=verdict.ref,
        checks=checks,
        document=verdict.to_markdown(),
        junit=verdict.to_junit(),
        record={"judgement": verdict.to_json()},
    )


def _gate(store: "Store", values: Values) -> Outcome:
    ref, alias = _needed(values, "gate", "ref", "alias")
    verdict = store.registry.check(ref, alias, **_given(values, "keys"))
    return of_verdict("gate", verdict, EXIT_CODES["ok" if verdict.ok else "no"])


def _promote(store: "Store", values: Values) -> Outcome:
    ref, alias, reason = _needed(values, "promote", "ref", "alias", "reason")
    verdict = store.promote(ref, alias, reason=reason, **_given(values, "keys"), **expected(values.get("expect")))
    return of_verdict("promote", verdict, EXIT_CODES["ok"])


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(f"fraction: expected a number such as 0.1, got {text!r:.100}") from None


def _verify(store: "Store", values: Values) -> Outcome:
    more: dict[str, Any] = {"fraction": _share(values["fraction"])} if "fraction" in values else {}
    report = store.verify(values.get("ref"), **_given(values, "level", "keys"), anchor=lines(values, "anchor") or None, **more)
    bad = [one for one in report.findings if one.severity != "note"]
    checks = [Check(f"{one.severity}: {one.rule}", ok=False, text=one.what) for one in bad]
    checks += [Check(kind, ok=True, text=f"{count} checked") for kind, count in report.checked.items()]
    title = f"{report.level}: nothing is damaged" if report.ok else f"{report.level}: {len(bad)} findings"
    found = store.artifact(values["ref"]) if "ref" in values and report.ok else None
    about: dict[str, Any] = {} if found is None else {"digest": found.digest, "ref": found.ref}
    code = EXIT_CODES["ok" if report.ok else "corruption" if report.damaged else "no"]
    return Outcome("verify", title, code, verdict=report.ok, checks=checks, record={"head": report.head}, **about)


# What a step can do: whether it writes to the store, and how it is done.
STEPS: Final[Mapping[str, tuple[bool, Callable[["Store", Values], Outcome]]]] = {
    "put": (True, _put),
    "get": (False, _get),
    "track": (True, _track),
    "check-pointers": (False, _check_pointers),
    "checkout": (False, _checkout),
    "gate": (False, _gate),
    "promote": (True, _promote),
    "verify": (False, _verify),
}
