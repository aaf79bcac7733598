"""Why an object stays or goes: the path from it to the version, hold, unnamed put or run that needs it, in words."""

import re
from collections.abc import Iterator
from typing import Any, Final

from artifactstore.catalog.fold.lost import is_robbed
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import resolve
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.maintenance.gc.litter import Litter
from artifactstore.maintenance.gc.live import is_live
from artifactstore.maintenance.gc.plan import Plan, needed_holders
from artifactstore.model.reference import Reference

__all__ = ["Why"]

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_KEY: Final = re.compile(r"(?:manifests|packs)/[0-9a-f]{2}/([0-9a-f]{32})\.(?:parquet|pack)", re.ASCII)


class Why:
    """Answers for one clean-up.

    Args:
        state: its fold.
        plan: what it judged.
        litter: what else it found.
    """

    def __init__(self, state: State, plan: Plan, litter: Litter) -> None:
        self._state = state
        self._young = dict(plan.young)
        self._orphans = {one for one in (*plan.manifests, *plan.packs) if one not in state.manifests}
        self._by_runs = plan.by_runs
        self._litter = dict(litter.reasons)

    def __call__(self, what: str) -> str:
        """Return why something stays or goes.

        Raises:
            NotFoundError: nothing of the store is called so.
            InvalidInputError: neither an id, a key nor a reference.
        """
        if not isinstance(what, str):
            raise InvalidInputError(f"expected an id, a key or a reference, got {type(what).__name__}")
        if what in self._litter:
            return f"dead: {self._litter[what]}"
        match = _KEY.fullmatch(what)
        one = match[1] if match is not None else what
        if not _ID.fullmatch(one):
            return self._of_reference(what)
        if one in self._state.manifests:
            return self._of_manifest(one)
        users = [manifest for manifest, (_, _, packs) in self._state.manifests.items() if one in packs]
        if users:
            return self._of_pack(one, users)
        if one in self._young:
            since = self._young[one]
            age = "its age is unknown" if since is None else f"it was written at {since:%Y-%m-%d %H:%M} UTC"
            return f"spared: no entry names {one}, and {age}: its put may be under way"
        for table in (self._state.condemned_manifests, self._state.condemned_packs):
            if one in table:
                return f"dead: no entry names {one}; it was condemned in entry {table[one]}"
        if one in self._orphans:
            return f"dead: no entry names {one}: its put never finished"
        raise NotFoundError(f"there is no manifest and no pack {one} in this store, and no entry names one")

    def _of_manifest(self, manifest: str) -> str:
        digest = self._state.manifests[manifest][0]
        name = f"manifest {manifest}"
        if manifest in self._state.holders.get(digest, ()) and self._is_live(digest):
            needed = needed_holders(self._state, self._state.holders[digest])
            if manifest in needed:
                return f"kept: {name} ← {self._path(digest)}"
            current = needed[0] if is_robbed(self._state, manifest) else self._state.current_manifest(digest)
            return f"dead: {name}: {current} holds {digest} now"
        seq = self._state.condemned_manifests.get(manifest)
        return f"dead: {name}{'' if seq is None else f' (condemned in entry {seq})'}: {self._death(digest)}"

    def _of_pack(self, pack: str, users: list[str]) -> str:
        words = [self._of_manifest(manifest) for manifest in users]
        kept = next((one for one in words if one.startswith("kept: ")), None)
        if kept is not None:
            return f"kept: pack {pack} ← {kept.removeprefix('kept: ')}"
        seq = self._state.condemned_packs.get(pack)
        return f"dead: pack {pack}{'' if seq is None else f' (condemned in entry {seq})'} ← {words[-1].removeprefix('dead: ')}"

    def _of_reference(self, what: str) -> str:
        parsed = Reference.parse(what)
        if parsed.name is None:
            known = self._state.stored.get(str(parsed.digest))
            matching = [str(parsed.digest)] if known is not None else []
            digest = matching[0] if matching else resolve(self._state, parsed).digest
        else:
            digest = self._digest_of(parsed)
        if not self._state.alive(digest):
            return f"dead: {self._death(digest)}"
        manifest = self._state.current_manifest(digest)
        assert manifest is not None
        return self._of_manifest(manifest)

    def _digest_of(self, parsed: Reference) -> str:
        """Return the digest of a version, also of one that was removed."""
        rows = self._state.names.get(str(parsed.name), ())
        if parsed.version is not None and 1 <= parsed.version <= len(rows):
            return str(rows[parsed.version - 1]["digest"])
        return resolve(self._state, parsed, tainted=True).digest

    def _is_live(self, digest: str) -> bool:
        return is_live(self._state, digest, self._by_runs)

    # -- paths

    def _path(self, digest: str) -> str:
        """Return what needs an artifact, and what became of it."""
        state = self._state
        named = [
            (name, k) for name, k, _ in state.versions_by_digest.get(digest, ()) if "removed" not in state.names[name][k - 1]
        ]
        text = digest
        if named:
            text += f" ← {_labels(state, *named[-1])}"
        elif digest in state.unnamed:
            text += f" ← an unnamed put in entry {state.unnamed[digest]['seq']}"
        else:
            hold = next(((key, row) for key, row in state.holds.items() if row["digest"] == digest), None)
            if hold is not None:
                text += f" ← held ({hold[0][-32:]}) by {hold[1]['actor']} in entry {hold[1]['seq']}"
        use = next(self._uses(digest), None)
        return text if use is None else f"{text} ← {use}"

    def _uses(self, digest: str) -> Iterator[str]:
        state = self._state
        for run in state.used_by_runs.get(digest, ()):
            name = state.runs.get(run, {}).get("name", "")
            made = next((edge["digest"] for edge in state.edges.get(run, ()) if edge["fact"] == "produced"), None)
            rows = state.versions_by_digest.get(made, ()) if made is not None else ()
            yield f"used by run {name} {run[:12]}" + (f" that made {_labels(state, *rows[-1][:2])}" if rows else "")
        for run in state.produced_by.get(digest, ()):
            yield f"made by run {state.runs.get(run, {}).get('name', '')} {run[:12]}"

    def _death(self, digest: str) -> str:
        """Return why nothing needs an artifact."""
        state = self._state
        rows = [state.names[name][k - 1] | {"ref": f"{name}:v{k}"} for name, k, _ in state.versions_by_digest.get(digest, ())]
        gone = [row for row in rows if "removed" in row]
        if not gone:
            return f"{digest} was removed" if self._was_named(digest) else f"nothing names {digest}"
        row = max(gone, key=lambda one: one["removed"]["seq"])
        mark: dict[str, Any] = row["removed"]
        return f"{row['ref']} was removed in entry {mark['seq']} by {mark['actor']}" + (
            f": {mark['reason']}" if mark.get("reason") else ""
        )

    def _was_named(self, digest: str) -> bool:
        return digest in self._state.stored


def _labels(state: State, name: str, number: int) -> str:
    """Return a version with the aliases that mean it: `churn/model:v7 <production>`."""
    found = sorted(alias for alias, moves in state.aliases.get(name, {}).items() if moves and moves[-1]["version"] == number)
    return f"{name}:v{number}" + (f" <{', '.join(found)}>" if found else "")
