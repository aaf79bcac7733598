"""Clients with faults: they append, by hand, what the rules forbid. The fold is the judge: none of it may take effect."""

import json
from collections.abc import Callable
from typing import Any, Final

from artifactstore.errors import AlreadyExistsError
from artifactstore.journal.chain import encode_entry, entry_key, inbox_name
from artifactstore.model.digest import Digest

from .tasks import NAMES, WORDS, Process, name_of

Txn = dict[str, Any]
_TIME: Final = "2026-01-01T00:00:00.000000Z"


class Stranger:
    """Appends without judging; one process, whose own entries count as everybody's."""

    def __init__(self, process: Process, window: int) -> None:
        self.process = process
        self.window = window
        self._seen: list[Txn] = []  # what took effect once

    def run(self, times: int) -> None:
        for _ in range(times):
            self.process.quietly(self._append)

    def _append(self) -> None:
        process, rng = self.process, self.process.world.rng
        head = process.journal.catch_up()
        makers: list[Callable[[int], list[Txn]]] = [
            self._clean_up_in_company,
            self._clean_up_in_company,
            self._clean_up_of_yesterday,
            self._clean_up_that_refers,
            self._again,
            self._too_late,
            self._on_what_is_condemned,
            self._under_a_taken_id,
            self._without_content,
            self._from_the_future,
            self._from_before_a_clean_up,
            self._what_is_posted,
            self._what_is_posted,
        ]
        txns = rng.choice(makers)(head)
        header = process.journal.fold.header
        now, form = max(header["time"], _TIME), header["format"]
        raw = encode_entry(head + 1, process.journal.digest, writer="f" * 32, time=now, txns=txns, format=form)
        try:
            process.insist(lambda: process.backend.create(entry_key(head + 1), raw))
        except AlreadyExistsError:
            process.world.log("    lost the race, or was there before")

    def _txn(self, head: int, *facts: dict[str, Any], **more: Any) -> Txn:
        txn: Txn = {"txn": self.process.world.new_id(), "birth": head, "base": head, "adoptable": False, "time": _TIME, **more}
        return {**txn, "actor": "stranger", "identity": "claimed", "host": "here", "tool": "faulty", "facts": list(facts)}

    def _measured(self, head: int) -> Txn:
        """Take effect, and be kept for a second try."""
        txn = self._txn(head, {"fact": "measured", "digest": name_of("ab"), "metrics": {"k": head}, "marker": self._marker()})
        self._seen.append(txn)
        return txn

    def _marker(self) -> str:
        return self.process.world.new_id()

    def _condemned(self) -> dict[str, Any]:
        """Everything that some artifact is."""
        fold = self.process.journal.fold
        holders = sorted(one[-1] for one in fold.holders.values() if one)
        chosen = self.process.world.rng.sample(holders, min(len(holders), 1))
        return {
            "fact": "condemned",
            "manifests": chosen,
            "packs": sorted({pack for one in chosen for pack in fold.manifests[one][2]}),
        }

    def _clean_up_in_company(self, head: int) -> list[Txn]:
        txns = [self._txn(head, self._condemned()), self._measured(head)]
        self.process.world.rng.shuffle(txns)
        return txns

    def _clean_up_of_yesterday(self, head: int) -> list[Txn]:
        return [self._txn(max(0, head - 1), self._condemned())] if head else self._clean_up_in_company(head)

    def _clean_up_that_refers(self, head: int) -> list[Txn]:
        fold = self.process.journal.fold
        named = {"fact": "versioned", "name": self.process.world.rng.choice(NAMES), "kind": "data"}
        digests = sorted(fold.holders) or [name_of("ab")]
        return [self._txn(head, self._condemned(), {**named, "digest": self.process.world.rng.choice(digests)})]

    def _again(self, head: int) -> list[Txn]:
        if not self._seen:
            return [self._measured(head)]
        txn = self.process.world.rng.choice(self._seen)
        return [txn, txn, {**txn, "base": head}]

    def _too_late(self, head: int) -> list[Txn]:
        birth = head - self.window
        return [self._txn(birth, self._condemned(), base=head)] if birth >= 0 else self._clean_up_in_company(head)

    def _on_what_is_condemned(self, head: int) -> list[Txn]:
        fold = self.process.journal.fold
        word = self.process.world.rng.choice(WORDS)
        manifests, packs = sorted(fold.condemned_manifests), sorted(fold.condemned_packs)
        if not packs or not manifests:
            return self._clean_up_in_company(head)
        rng = self.process.world.rng
        new = self.process.world.new_id()
        manifest, used = rng.choice([(new, packs), (rng.choice(manifests), []), (new, [rng.choice(packs)])])
        fact = {"fact": "stored", "digest": name_of(word), "manifest": manifest, "manifest_digest": str(Digest.of(b""))}
        named = {"fact": "versioned", "name": rng.choice(NAMES), "digest": name_of(word), "kind": "data"}
        return [self._txn(head, {**fact, "size": 1, "files": 1, "packs": used}, named)]

    def _under_a_taken_id(self, head: int) -> list[Txn]:
        """Two artifacts in one manifest: with the one, the other would be cleaned up."""
        process, fold = self.process, self.process.journal.fold
        if not fold.manifests:
            return self._without_content(head)
        manifest = process.world.rng.choice(sorted(fold.manifests))
        word = process.world.rng.choice([one for one in WORDS if name_of(one) != fold.manifests[manifest][0]])
        fact = {"digest": name_of(word), "manifest_digest": str(Digest.of(b"")), "packs": fold.manifests[manifest][2]}
        stored = {"fact": "stored", "manifest": manifest, "size": 1, "files": 1, **fact}
        moved = {"fact": "relocated", "from": fold.current_manifest(name_of(word)) or manifest, "to": manifest, **fact}
        return [self._txn(head, process.world.rng.choice([stored, moved])), self._measured(head)]

    def _without_content(self, head: int) -> list[Txn]:
        lacking = name_of("never stored")
        named = {"fact": "versioned", "name": self.process.world.rng.choice(NAMES), "digest": lacking, "kind": "data"}
        held = {"fact": "held", "hold": self.process.world.new_id(), "digest": lacking}
        return [self._txn(head, named), self._txn(head, held), self._measured(head)]

    def _what_is_posted(self, head: int) -> list[Txn]:
        """Append what waits in the inbox, old postings and those of yesterday too, whether it takes effect or not.

        Not moves of aliases: that an old one stays dead is a rule of whoever appends for others, and not of the fold.
        """
        waiting = [json.loads(raw) for key, raw in self.process.world.objects.items() if inbox_name(key) and raw]
        posted = [one for one in waiting if all(fact["fact"] != "aliased" for fact in one["facts"])]
        return [*self.process.world.rng.sample(posted, min(len(posted), 3)), self._measured(head)]

    def _from_the_future(self, head: int) -> list[Txn]:
        return [self._txn(head, self._condemned(), base=head + 1), self._txn(head + 1, self._condemned()), self._measured(head)]

    def _from_before_a_clean_up(self, head: int) -> list[Txn]:
        last = self.process.journal.fold.header["condemned"]
        stale = self._txn(max(0, last - 1), {"fact": "measured", "digest": name_of("ab"), "metrics": {"k": 0}})
        return [stale, self._measured(head)]
