"""Judgements of an examination: each function turns a probe's outcome into a `Check`. Pure; no backend is touched."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from artifactstore.errors import BackendError, NotFoundError, UnsupportedError
from artifactstore.maintenance.doctor.advice import backend_kind, explain, is_denied, permission
from artifactstore.maintenance.doctor.create_race import Round
from artifactstore.maintenance.doctor.findings import Check, Outcome
from artifactstore.maintenance.doctor.measurements import Clock, Speed

__all__ = [
    "failed",
    "judge_cleanup",
    "judge_clock",
    "judge_create_existing",
    "judge_delete",
    "judge_latency",
    "judge_listing",
    "judge_missing_key",
    "judge_race",
    "judge_ranges",
    "judge_reach",
    "judge_retention",
    "judge_same",
    "judge_size",
    "judge_speed",
    "judge_unchanged",
    "judge_write",
    "skipped",
]

_SKEW: Final = 60.0  # seconds: beyond this, times in the audit trail are misleading
_UNSAFE: Final = (
    "unsafe for several writers: two concurrent commits would overwrite each other's journal entry",
    "use a server that honours If-None-Match, or a folder; where nothing else ever writes to it, pass single_writer=True",
)


def skipped(name: str, tried: str, why: str) -> Check:
    """Return a check that was not made."""
    return Check(name, "skipped", tried, why)


def failed(name: str, tried: str, outcome: Outcome, url: str, verb: str) -> Check:
    """Return a check whose request itself failed."""
    assert outcome.error is not None
    means, fix = explain(outcome.error, url, verb)
    return Check(name, "fail", tried, str(outcome.error), means, fix)


def judge_reach(read: Outcome, listed: Outcome, url: str) -> tuple[Check, bool]:
    """Judge whether the backend replies at all, and whether this identity may do anything there.

    Args:
        read: of `store.json`.
        listed: of the first page of the listing.
        url: the store location.
    """
    tried = "read store.json and list the store location"
    answered = [one for one in (read, listed) if one.error is None or isinstance(one.error, NotFoundError | UnsupportedError)]
    if answered:
        return Check("reach", "ok", tried, "it replies"), True
    worst = listed if is_denied(read.error) and not is_denied(listed.error) else read
    check = failed("reach", tried, worst, url, "read")
    if is_denied(read.error) and is_denied(listed.error):
        needs = f"grant {permission(url, 'read')} and {permission(url, 'list')}"
        policy = f"; `artifactstore doctor {url} --policy reader` prints a policy that does"
        means = "the credentials are valid, but allow neither to read nor to list"
        return Check("reach", "fail", tried, str(read.error), means, needs + policy), False
    return check, False


def judge_missing_key(outcome: Outcome, url: str) -> Check:
    """Judge that a missing key gives a definite "no such key": the journal ends where one is reported."""
    tried = "read a key that does not exist"
    if isinstance(outcome.error, NotFoundError):
        return Check("missing-key", "ok", tried, "a definite 'no such key'")
    if outcome.error is None:
        return Check(
            "missing-key", "fail", tried, "bytes came back", "the server invents objects: none of its replies can be trusted",
            "check the endpoint: a web server's error page, or a proxy that replies in its place",
        )  # fmt: skip
    if is_denied(outcome.error):
        fix = f"grant {permission(url, 'list')}"
        if backend_kind(url) == "s3":
            fix += (
                ", also for requests without a prefix (a condition on s3:prefix alone leaves those out); "
                f"`artifactstore doctor {url} --policy reader` prints such a policy"
            )
        return Check(
            "missing-key", "fail", tried, str(outcome.error),
            "a missing key is reported as 'denied', so the end of the journal cannot be seen and nothing can be read safely: "
            "S3 hides missing keys from identities that may not list", fix,
        )  # fmt: skip
    return failed("missing-key", tried, outcome, url, "read")


def judge_listing(
    name: str, expected: Collection[str], found: Outcome, url: str, *, gone: Collection[str] = (), tried: str = ""
) -> Check:
    """Judge that a listing has every key once, immediately after the writes, and no deleted key."""
    tried = tried or f"list the store location right after writing {len(expected):,} objects"
    if found.error is not None:
        return failed(name, tried, found, url, "list")
    keys = list(found.value)
    missing, stale = {*expected} - {*keys}, {*gone} & {*keys}
    figures = {"objects": len(expected)}
    if missing or stale or len(keys) != len({*keys}):
        what = f"{len(missing):,} of {len(expected):,} are missing" if missing else ""
        what = what or (f"{len(stale):,} deleted ones are still shown" if stale else "some are listed twice")
        return Check(
            name, "fail", tried, what,
            "listings lag or are cut off: `verify` and clean-up would report existing objects as missing, or overlook them",
            "use the storage itself, not a cache, gateway or mirror before it; set no listing cache in storage_options", figures,
        )  # fmt: skip
    return Check(name, "ok", tried, "complete and up to date", figures=figures)


def judge_write(outcome: Outcome, url: str, role: str | None) -> Check:
    """Judge whether this identity may write: a reader need not."""
    tried = "write a small object"
    if outcome.error is None:
        if role == "reader":
            return Check(
                "write", "warn", tried, "written", "this identity may do more than a reader needs",
                f"revoke {permission(url, 'write')}",
            )  # fmt: skip
        return Check("write", "ok", tried, "written")
    readonly = is_denied(outcome.error) or isinstance(outcome.error, UnsupportedError)
    if readonly and role in {None, "reader"}:
        _, fix = explain(outcome.error, url, "write")
        return Check(
            "write", "ok" if role == "reader" else "warn", tried, str(outcome.error),
            "read only: right for a reader; these credentials cannot put", "" if role == "reader" else f"for a writer: {fix}",
        )  # fmt: skip
    return failed("write", tried, outcome, url, "write")


def judge_same(name: str, tried: str, wanted: bytes, got: Outcome, url: str) -> Check:
    """Judge that a read returned exactly what was written last."""
    if got.error is not None:
        return failed(name, tried, got, url, "read")
    if bytes(got.value) != wanted:
        return Check(
            name, "fail", tried, f"{len(got.value):,} other bytes came back",
            "reads lag behind writes or return changed bytes: a commit might not be seen by the next one",
            "use the storage itself, not a cache, gateway or mirror before it",
        )  # fmt: skip
    return Check(name, "ok", tried, "the same bytes")


def judge_ranges(wanted: Sequence[bytes], inside: Outcome, behind: Outcome, url: str) -> Check:
    """Judge that ranges return exactly the requested bytes, and a range beyond the end an error, never fewer bytes."""
    tried = "read ranges of an object: at its start, inside, at its end, empty, and one that ends beyond it"
    if inside.error is not None:
        return failed("ranges", tried, inside, url, "read")
    if [bytes(one) for one in inside.value] != [*wanted]:
        return Check(
            "ranges", "fail", tried, "other bytes came back", "the server or a proxy ignores ranges: content cannot be read in parts",
            "use the storage itself, or a proxy that passes the Range header on",
        )  # fmt: skip
    if behind.error is None:
        return Check(
            "ranges", "fail", tried, "a range beyond the end returned bytes",
            "a truncated object would not be noticed by a partial read", "use another server",
        )  # fmt: skip
    if not isinstance(behind.error, BackendError) or behind.error.transient:
        return failed("ranges", tried, behind, url, "read")
    return Check("ranges", "ok", tried, "exact, and an error beyond the end")


def judge_size(wanted: int, got: Outcome, url: str) -> Check:
    """Judge that the size of an object is what was written."""
    tried = "ask for an object's size"
    if got.error is not None:
        return failed("size", tried, got, url, "read")
    if got.value != wanted:
        return Check(
            "size", "fail", tried, f"{got.value:,} bytes, of {wanted:,} written", "the server or a proxy changes objects or sizes",
            "turn off compression or rewriting between here and the storage",
        )  # fmt: skip
    return Check("size", "ok", tried, f"{wanted:,} bytes, as written")


def judge_create_existing(outcome: Outcome, url: str, *, refused: bool | None, unchanged: bool, single_writer: bool) -> Check:
    """Judge that creating an existing key is refused, and leaves the object unchanged.

    Args:
        outcome: of the second create.
        url: the store location.
        refused: whether `AlreadyExistsError` was raised; None where it was another error.
        unchanged: whether the first bytes were still there afterwards.
        single_writer: whether the caller promised that nothing else writes.
    """
    tried = "create an object under a key that exists"
    if refused and unchanged:
        return Check("create-existing", "ok", tried, "refused, and the first bytes are still there")
    if refused is None:
        if outcome.error is not None and isinstance(outcome.error, UnsupportedError):
            return Check("create-existing", "fail", tried, str(outcome.error), *_UNSAFE)
        return failed("create-existing", tried, outcome, url, "write")
    happened = "reported as refused, but the bytes changed" if refused else "it was written: the condition was ignored"
    return Check("create-existing", "warn" if single_writer else "fail", tried, happened, *_UNSAFE)


def judge_race(rounds: Sequence[Round], processes: int, *, single_writer: bool) -> Check:
    """Judge that of all contenders for one key exactly one wins, and only its bytes are visible."""
    contenders = max((len(one.contenders) for one in rounds), default=0)
    tried = f"{len(rounds)} races of {contenders} creators for one key, in {processes} process{'es' if processes > 1 else ''}"
    figures = {"rounds": len(rounds), "creators": contenders, "processes": processes}
    bad = [verdict for one in rounds if (verdict := _verdict(one))]
    if not bad:
        return Check("create-race", "ok", tried, "exactly one won each race, and its bytes are stored", figures=figures)
    worst = next((one for one in bad if not one.startswith("unclear")), bad[0])
    happened = f"{worst} ({len(bad)} of {len(rounds)} races)"
    if worst.startswith("unclear"):
        return Check(
            "create-race", "fail", tried, happened, "the race gave no clear result on whether concurrent writers are kept apart",
            "run it again; if the result persists, see the error", figures,
        )  # fmt: skip
    if single_writer:
        means = "more than one won: safe only as long as single_writer=True holds, that is, nothing else ever writes"
        return Check("create-race", "warn", tried, happened, means, _UNSAFE[1], figures)
    return Check("create-race", "fail", tried, happened, *_UNSAFE, figures)


def _verdict(one: Round) -> str:
    """Return what went wrong in a race; empty where nothing did."""
    won = {contender.token for contender in one.contenders if contender.end == "won"}
    unknown = {contender.token for contender in one.contenders if contender.end == "unknown"}
    errors = [contender.end for contender in one.contenders if contender.end not in {"won", "lost", "unknown"}]
    if len(won) > 1:
        return f"{len(won)} creators were reported as winners"
    if won and one.seen not in won:
        return "the stored bytes are not the winner's"
    if not won and one.seen is not None and one.seen not in unknown:
        return "the stored bytes are a loser's"
    if not won and one.seen is None:
        return f"unclear: no creator won{f', {errors[0]}' if errors else ''}"
    if errors:
        return f"unclear: {errors[0]}"
    return ""


def judge_delete(outcome: Outcome, after: Outcome, again: Outcome, url: str, role: str | None) -> Check:
    """Judge whether this identity may delete (only clean-up needs to), and whether a deleted object is gone at once."""
    tried = "delete an object, read it, and delete it again"
    if is_denied(outcome.error) and role != "janitor":
        return Check("delete", "ok", tried, "refused: right for a reader and for a writer; only clean-up deletes")
    if outcome.error is not None:
        return failed("delete", tried, outcome, url, "delete")
    if is_denied(after.error):
        return Check("delete", "skipped", tried, "deleted; unknown whether it was gone at once: reading it is denied")
    if after.error is not None and not isinstance(after.error, NotFoundError):
        return failed("delete", tried, after, url, "read")
    if after.error is None:
        return Check(
            "delete", "fail", tried, "it could still be read", "reads lag behind deletions",
            "use the storage itself, not a cache, gateway or mirror before it",
        )  # fmt: skip
    if again.error is not None:
        return failed("delete", "delete a key that does not exist", again, url, "delete")
    if role in {"reader", "writer"}:
        return Check(
            "delete", "warn", tried, "it is gone", f"this identity may do more than a {role} needs: a mistake could delete data",
            f"revoke {permission(url, 'delete')}; only the identity that runs clean-up needs it",
        )  # fmt: skip
    return Check("delete", "ok", tried, "gone at once, and deleting it again is not an error")


def judge_clock(clock: Clock | None) -> Check:
    """Judge how far the store's clock is from this machine's."""
    tried = "compare the time of an object just written with this machine's clock"
    if clock is None:
        return skipped("clock", tried, "this backend does not report object times")
    surely = max(0.0, abs(clock.ahead) - clock.within)
    figures = {"ahead_seconds": round(clock.ahead, 3), "within_seconds": round(clock.within, 3)}
    way = "ahead of" if clock.ahead > 0 else "behind"
    summary = f"the store's clock is {abs(clock.ahead):.1f} s {way} ours, give or take {clock.within:.1f} s"
    if surely > _SKEW:
        return Check(
            "clock", "warn", tried, summary,
            "no data is at risk (nothing here rests on clocks), but times in the audit trail will be misleading, and S3 refuses requests at 15 minutes",
            "let this machine follow a time server (timedatectl set-ntp true); if it does, tell the operator of the store", figures,
        )  # fmt: skip
    return Check("clock", "ok", tried, summary, figures=figures)


def judge_latency(reads: Sequence[float], writes: Sequence[float]) -> Check:
    """Report the latency of small requests."""
    figures: dict[str, float] = {}
    parts = []
    for word, times in (("read", reads), ("write", writes)):
        if times:
            figures[f"{word}_median_seconds"] = round(statistics.median(times), 5)
            figures[f"{word}_p95_seconds"] = round(_p95(times), 5)
            parts.append(f"{word} {statistics.median(times) * 1000:.1f} ms (95 %: {_p95(times) * 1000:.1f} ms)")
    tried = f"{len(reads)} small reads and {len(writes)} small writes, one after the other"
    slow = max((statistics.median(times) for times in (reads, writes) if times), default=0.0)
    if slow > 1:
        return Check(
            "latency", "warn", tried, ", ".join(parts), "every commit takes at least two consecutive writes",
            "work closer to the storage, or look for a proxy or a server under load", figures,
        )  # fmt: skip
    return Check("latency", "ok", tried, ", ".join(parts), figures=figures)


def _p95(times: Sequence[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(0.95 * len(times)))]


def judge_speed(name: str, speed: Speed) -> Check:
    """Report the throughput in bytes a second; a figure, never a fault."""
    figures: dict[str, float] = {"one_connection_MB_per_second": round(speed.one / 1e6, 2)}
    summary = f"{speed.one / 1e6:.1f} MB/s over one connection"
    if speed.many is not None:
        figures |= {"all_connections_MB_per_second": round(speed.many / 1e6, 2), "connections": speed.connections}
        summary += f", {speed.many / 1e6:.1f} MB/s over {speed.connections}"
    figures["bytes"] = speed.bytes
    return Check(name, "ok", f"move {speed.bytes / 1e6:.1f} MB", summary, figures=figures)


def judge_retention(found: Mapping[str, str] | None) -> Check:
    """Report whether the backend retains deleted or overwritten objects."""
    tried = "read the versioning and Object Lock settings"
    if found is None:
        return skipped("retention", tried, "not available for this kind of backend")
    summary = ", ".join(f"{word.replace('_', ' ')}: {state}" for word, state in found.items())
    if all("unknown:" in state for state in found.values()):
        return skipped("retention", tried, "this identity may not read them (a store does not need it)")
    if found.get("object_lock", "off").startswith("on"):
        return Check(
            "retention", "ok", tried, summary, "a store works on it; deleted objects take space until their retention ends"
        )
    if found.get("versioning") == "on":
        return Check(
            "retention", "ok", tried, summary, "deleted objects stay as old versions, and cost storage",
            "set a lifecycle rule that expires noncurrent versions after as many days as you want to be able to go back",
        )  # fmt: skip
    return Check("retention", "ok", tried, summary)


def judge_unchanged(before: bytes | None, after: Outcome, url: str) -> Check:
    """Judge that `store.json` is unchanged since the examination began."""
    tried = "read store.json once more"
    if isinstance(after.error, NotFoundError) and before is None:
        return Check("store-unchanged", "ok", tried, "still no store: an examination creates none")
    if after.error is not None and before is not None:
        return failed("store-unchanged", tried, after, url, "read")
    if before is not None and bytes(after.value) != before:
        return Check(
            "store-unchanged", "fail", tried, "its bytes have changed", "another process overwrites store.json, which is written only once",
            "find out which process writes to this store, and compare it with a copy",
        )  # fmt: skip
    return Check(
        "store-unchanged", "ok", tried, "unchanged" if before is not None else "another process created a store meanwhile"
    )


def judge_cleanup(left: Sequence[str], size: int, folder: str, *, denied: bool) -> Check:
    """Judge whether the examination has cleaned up after itself."""
    tried = f"remove all that was written to {folder}/"
    if not left:
        return Check("cleanup", "ok", tried, "nothing is left")
    summary = f"{len(left)} objects of {size / 1e6:.1f} MB in total remain in {folder}/"
    means = "harmless: no store reads or counts them"
    fix = "" if denied else f"delete {folder}/ once the retention allows it"
    if denied:
        means += "; this identity may not delete, which is right for a writer. An identity that may delete can remove that folder at any time"
    return Check("cleanup", "ok" if denied else "warn", tried, summary, means, fix)
