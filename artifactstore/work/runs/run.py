"""Runs: a unit of work with its inputs, outputs, code, parameters and environment."""

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from artifactstore.catalog.runs.info import jobs_of
from artifactstore.errors import ArtifactStoreError, ConflictError, InvalidInputError
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Referable, as_reference
from artifactstore.objects.registry import check_expected
from artifactstore.runtime.answering import answering
from artifactstore.runtime.remarks import remark
from artifactstore.work.get import get as _get
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.put import put as _put
from artifactstore.work.runs import checkpoints
from artifactstore.work.runs.capture.environment import command_line
from artifactstore.work.runs.capture.job import job
from artifactstore.work.runs.captured import Capture
from artifactstore.work.runs.json_safe import escape_undecodable, json_safe, numbers, parameters, whole_number
from artifactstore.work.runs.strict import Strict
from artifactstore.work.secrets import captured, shown
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.tracking.current_run import Tracker, enclosing_run, in_role, rejoin

__all__ = ["Run"]

_LONGEST: Final = 100  # characters of a run's id
_ERROR: Final = 2000  # characters of the error of a failed run


@answering
class Run:
    """A run: `with store.run("train", params={"depth": 8}) as run:`, or `start()` and `finish()` across a notebook's cells.

    Reads inside are recorded as inputs, puts as outputs; its code and environment are recorded with its first output, or at
    its end.

    Attributes:
        id: of the run, unique in its store.
        name: the kind of work.
        params: its parameters, as recorded.
        status: None while it is running; then finished or failed.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the public name
        code: bool | str = True,
        expects: Iterable[str | type] = (),
        remove: Callable[[str, str], object] | None = None,
    ) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
            raise InvalidInputError(f"a run's name must be a str of 1 to 200 printable characters, got {name!r}")
        if id is not None and (not isinstance(id, str) or not 0 < len(id) <= _LONGEST or not id.isprintable()):
            raise InvalidInputError(f"id={id!r}: expected a str of 1 to {_LONGEST} printable characters, or None")
        if code not in (True, False, "history"):
            raise InvalidInputError(f"code={code!r}: expected True, False, or 'history' to store the commits, too")
        if isinstance(expects, str | type) or not all(isinstance(one, str | type) for one in expects):
            raise InvalidInputError(
                f"expects={expects!r:.200}: expected a list of formats, libraries or types, such as ['sklearn']"
            )
        check_expected(expects)
        session.check_writable()
        self.id = id or new_id()
        self.name = name
        self.params = parameters(params)
        self.status: str | None = None
        self._session = session
        self._claimed = id is not None
        self._code = code
        self._tracker: Tracker | None = None
        self._token: Any = None
        self._began = 0.0
        self._pid = 0
        self._capture: Capture | None = None  # until it was handed to the tracker
        self._looked: Capture | None = None
        self._strict: Strict | None = None
        self._warned: set[str] = set()
        self._remove = remove  # a version, by the rules of the registry
        self._unremovable: set[str] = set()  # checkpoints that stay although they need not

    # -- start and end

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)

    def start(self, *, current: bool = True, capture: bool = True, parent: str | None = None) -> Self:
        """Start the run, or join the unfinished one of this id.

        Args:
            current: whether it becomes this process's current run; else only what goes through `run.get` and `run.put`, or is in a
                block of `run.inside()`, belongs to it.
            capture: whether the environment, and with `code` the code, of this process are recorded.
            parent: id of the enclosing run, such as that of a whole pipeline; by default the run that this is started in.

        Raises:
            ConflictError: it was started already, or a run of this id has finished.
            BackendError: the store is unreachable.
        """
        if self._tracker is not None or self.status is not None:
            raise ConflictError(f"the run {self.id!r} was started already")
        core = self._session.core_to_write()
        outer = parent if parent is not None else enclosing_run(self._session)
        self._capture = self._looked = Capture(self._session, code=self._code) if capture else None
        fact: Fact = {"fact": "started", "run": self.id, "name": self.name, "command": json_safe(shown(command_line()))}
        fact |= {"claimed": True} if self._claimed else {}
        fact |= {"params": self.params} if self.params else {}
        fact |= {"parent": outer} if outer not in (None, self.id) else {}
        about = job(os.environ)
        fact |= {"job": about} if about else {}

        def prepare(_core: Core) -> Prepared:
            with self._session.state(fresh=self._claimed) as state:
                known = state.runs.get(self.id)
                if known is not None and "status" in known:
                    raise ConflictError(f"the run {self.id!r} has {known['status']} at {known['finished']}: choose another id")
                is_news = known is None or (about and about not in jobs_of(known))
                return Prepared([fact] if is_news else [], state.head, "")

        commit(self._session, Step(prepare))
        if self._capture is not None:
            self._capture.wait()
        store = core.config.store
        self._tracker = Tracker(self._session, store, self.id, parent=outer)
        self._tracker.before = self._fill
        if current:
            self._tracker.begin()
        self._began, self._pid = time.monotonic(), os.getpid()
        return self

    def finish(self, *, error: str | None = None) -> None:
        """End the run: commit its pending reads, and that it has finished (or failed, with `error`).

        Raises:
            ConflictError: it was not started, or has ended.
            BackendError: the commit failed.
        """
        tracker = self._running()
        if os.getpid() != self._pid:
            return  # a forked child: the run continues in its parent, which has the reads of this process
        self.status = "finished" if error is None else "failed"
        fact: Fact = {
            "fact": "finished",
            "run": self.id,
            "status": self.status,
            "seconds": round(time.monotonic() - self._began, 3),
        }
        if error is not None:
            fact["error"] = escape_undecodable(captured(error[: 10 * _ERROR], "error")[:_ERROR])
        if self._looked is not None:
            seen = None if self._strict is None else self._strict.seen
            fact |= json_safe(self._looked.outside_reads(tracker.outside_reads) if seen is None else seen)
            tracker.pending += self._looked.cells(self.id)
        tracker.withdraw()
        fact |= {"not_finite": dict(tracker.odd)} if tracker.odd else {}
        try:
            tracker.flush(fact)
        finally:
            tracker.end()

    def __enter__(self) -> Self:
        self.start()
        self._token = self._running().enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None) -> None:
        tracker = self._running()
        tracker.leave(self._token)
        if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):  # `sys.exit()` is not a failure
            self.finish()
            return
        try:
            self.finish(error="".join(traceback.format_exception_only(kind, error)).strip())
        except ArtifactStoreError as other:
            error.add_note(f"the end of the run {self.id} was not recorded: {other}")

    @property
    def ref(self) -> str:
        """Its id: a run may be passed where a run's id is expected."""
        return self.id

    def _running(self) -> Tracker:
        if self._tracker is None or self.status is not None:
            state = "was not started" if self._tracker is None else f"has {self.status}"
            raise ConflictError(f"the run {self.id!r} {state}")
        return self._tracker if os.getpid() == self._pid else rejoin(self._tracker)

    # -- inside the run

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let reads and puts of this thread or task in a `with` block belong to this run, which was started before.

        Raises:
            ConflictError: it was not started, or has ended.
        """
        with self._running().innermost():
            yield

    def strictly(self) -> Strict:
        """Watch the programs that are started in a `with` block, with its `environment`; its `broken` names what went around the store.

        Raises:
            InvalidInputError: the run does not record its code.
        """
        if self._looked is None:
            raise InvalidInputError("a strict run records its code and environment: start it with capture=True")
        self._strict = Strict(self._looked, self._running().outside_reads)
        return self._strict

    def get(self, ref: str | Referable, to: Any = None, *, role: str | None = None, **options: Any) -> Any:
        """Read like `Store.get`, as an input of this run; `role` is its role in the run."""
        with self._running().innermost(), in_role(role):
            known = {key: options.pop(key) for key in ("paths", "overwrite", "trust") if key in options}
            return _get.get(self._session, ref, to, options=options, **known)

    def put(self, source: Any, name: str | None = None, *, role: str | None = None, **options: Any) -> Artifact:
        """Store like `Store.put`, as an output of this run; `role` is its role in the run."""
        with self._running().innermost(), in_role(role):
            known = {key: options.pop(key) for key in ("kind", "metadata", "metrics", "reason") if key in options}
            chosen: Any = options
            return _put.put(self._session, source, name, options=chosen, **known)

    def checkpoint(
        self, state: Any, *, step: int, name: str | None = None, keep: int | Mapping[str, Any] | None = None, **options: Any
    ) -> Artifact:
        """Store a state of the training, from which `resume` goes on. It is durable when this returns.

        Args:
            state: what `put` takes: a state dict, a model, a folder …
            step: how far the training is; recorded in the metadata.
            name: of the series; `<run name>/checkpoint` by default.
            keep: which checkpoints of this run stay: the number of the newest, or a dict such as
                `{"last": 3, "every": 1000, "min": "loss"}`, of which any is enough. The others are removed, with the reason;
                what an alias means, or a hold keeps, stays. All stay by default.
            **options: of `put`, such as `metrics` and `metadata`.

        Raises:
            InvalidInputError: an argument is invalid, or this is inside a batch.
            BackendError: it is not stored; the one before is.
        """
        number = whole_number(step)
        if number is None:
            raise InvalidInputError(f"step={step!r:.100}: expected a whole number")
        if self._session.batch() is not None:
            raise InvalidInputError("a checkpoint cannot be a part of a batch: it must be durable at once")
        series = checkpoints.name_of(self.name, name)
        rule = None if keep is None else checkpoints.Keep.of(keep)
        options["metadata"] = {**(options.get("metadata") or {}), "step": number}
        made = self.put(state, series, role=checkpoints.ROLE, **options)
        if rule is not None and self._remove is not None:
            with self._session.state(fresh=False) as known:
                found = checkpoints.of_run(known, self.id, series)
            checkpoints.prune(found, rule, self._remove, self._unremovable)
        return made

    def resume(self, name: str | None = None, **options: Any) -> Any:
        """Return the newest checkpoint of this run, also of an earlier job of the same id; None if there is none.

        Args:
            name: of the series, as passed to `checkpoint`.
            **options: of `get`, such as `trust` and `to`.

        Raises:
            CorruptionError: it is damaged; the ones before are versions of the same name.
        """
        series, tracker = checkpoints.name_of(self.name, name), self._running()
        with self._session.state() as known:
            found = checkpoints.newest(known, self.id, series)
        if found is None:
            return None
        tracker.own(found.digest)
        return self.get(found.ref, **options)

    def use(self, ref: str | Referable, *, role: str | None = None) -> None:
        """Record an input that is read by other means, such as a file from an earlier get.

        Raises:
            RefusedError: the reference is an alias of a tainted version.
        """
        tracker, text = self._running(), as_reference(ref)
        found = self._session.resolve(text)
        check_taint(self._session, text, found)
        tracker.used(found.digest, name=found.name, version=found.version, role=role, path=found.path)

    def log(self, *, step: int | None = None, **metrics: float) -> None:
        """Record metrics of the run itself, such as a loss; they are committed with the next output, or at the end.

        Never raises for a value: NaN and infinities are recorded as such and counted (`RunInfo.not_finite`); a value that is
        not a number, or a step that is not a whole number, gives one warning and is left out.
        """
        number = None if step is None else whole_number(step)
        if step is not None and number is None:
            self._warn_once("step", f"the step {step!r:.100} is not recorded: expected a whole number")
        finite, odd = self._sorted(metrics)
        if finite or odd:
            self._running().measured(finite, number, odd)
        else:
            self._running()

    def _sorted(self, metrics: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
        """Return finite values and others; warn once of each metric that is not a finite number."""
        finite, odd, refused = numbers(metrics)
        for name, why in refused.items():
            self._warn_once(f"metric {name}", f"the metric {name!r} is not recorded: {why}")
        for name, text in odd.items():
            self._warn_once(
                f"metric {name}", f"the metric {name!r} is {text}: it is recorded as such, and find() cannot match it"
            )
        return finite, odd

    def _warn_once(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            remark(f"{text} (run {self.id[:12]}; warned once)")

    def measure(self, ref: str | Referable, metrics: Mapping[str, float], *, on: str | Referable | None = None) -> None:
        """Record metrics of an artifact, measured by this run.

        Args:
            ref: the measured artifact.
            metrics: name → number; non-finite values and non-numbers are treated as in `log`.
            on: the artifact it was measured on, such as a test set.
        """
        self._running()
        if not isinstance(metrics, Mapping):
            raise InvalidInputError(f"metrics must be a dict of numbers, got {type(metrics).__name__}")
        found = self._session.resolve(as_reference(ref))
        finite, odd = self._sorted(metrics)
        fact: Fact = {"fact": "measured", "digest": found.digest, "metrics": finite, "by": self.id}
        fact |= {"not_finite": odd} if odd else {}
        if on is not None:
            fact["on"] = self._session.resolve(as_reference(on)).digest

        commit(self._session, one_fact(self._session, fact, found.digest))

    def _fill(self) -> None:
        """Pass the capture to the tracker, once."""
        capture, self._capture = self._capture, None
        if capture is not None and self._tracker is not None:
            self._tracker.pending += capture.steps(self._tracker.run)

    def __repr__(self) -> str:
        return f"Run({self.name!r}, id={self.id!r}, {self.status or ('running' if self._tracker is not None else 'not started')})"
