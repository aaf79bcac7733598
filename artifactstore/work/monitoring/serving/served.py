"""Reading an inference log: the rows of a window, and whether its chains are complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from artifactstore.display.displayed import Displayed
from artifactstore.errors import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.model.reference import Reference
from artifactstore.work.get.artifact import artifact
from artifactstore.work.get.get import open_file
from artifactstore.work.monitoring.serving.rows import joined
from artifactstore.work.monitoring.serving.segment import read_record, read_table
from artifactstore.work.queries.queries import versions
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

    from artifactstore.display.outline import Block

__all__ = ["LogCheck", "Stored", "check", "log_name", "model_of", "read", "read_labelled", "segments"]

_SHOWN: Final = 20  # findings that are printed


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment in a store.

    Attributes:
        ref: its version.
        stream: id of its stream.
        number: of it in the stream.
        start: time of its first row.
        end: time of its last row.
        rows: number of rows.
        model: digest of the model.
        removed: whether the version was removed.
    """

    ref: str
    stream: str
    number: int
    start: datetime
    end: datetime
    rows: int
    model: str
    removed: bool


@dataclass(frozen=True, slots=True)
class LogCheck(Displayed):
    """What is known of an inference log; true if its chains are complete.

    Attributes:
        findings: what is wrong, in words.
        notes: what is not wrong, but worth knowing: streams that were not closed, removed segments.
        name: of the log.
        streams: number of streams: one for each process that served.
        segments: number of segments.
        rows: number of rows.
        not_sampled: rows that the sample left out.
        lost: reason → rows that could not be kept.
        refused: reason → rows that could not be written down.
        start: time of the first row, or None.
        end: time of the last row, or None.
    """

    findings: tuple[str, ...]
    notes: tuple[str, ...]
    name: str
    streams: int
    segments: int
    rows: int
    not_sampled: int
    lost: Mapping[str, int]
    refused: Mapping[str, int]
    start: datetime | None
    end: datetime | None

    @property
    def ok(self) -> bool:
        """Whether no segment is damaged, missing, or out of its place."""
        return not self.findings

    def __bool__(self) -> bool:
        return self.ok

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Note, Span  # noqa: PLC0415 - programs look at the values

        word = Span("complete", "good") if self.ok else Span("NOT complete", "bad")
        count = f"{self.name}: {self.rows:,} rows in {self.segments:,} segments of {self.streams:,} streams, "
        blocks: list[Block] = [Line([count, word])]
        blocks += [Line(text) for text in self.findings[:_SHOWN]]
        if len(self.findings) > _SHOWN:
            blocks.append(Line(f"and {len(self.findings) - _SHOWN:,} more"))
        for what, counts in (("lost", self.lost), ("refused", self.refused)):
            blocks += [Line(f"{what}: {rows:,} ({reason})") for reason, rows in counts.items()]
        return [*blocks, *(Note(text) for text in self.notes)]


@dataclass(slots=True)
class _Chain:
    """What was seen of a stream so far."""

    number: int = -1
    previous: str | None = None
    last: int = -1  # number of its last row
    closed: bool = False
    known: bool = True  # whether the digest of the segment before is known
    seen: dict[int, str] = field(default_factory=dict)


def log_name(session: Session, ref: str, name: str | None = None) -> str:
    """Return the name of the log of a model.

    Raises:
        InvalidInputError: a bare digest has no name.
    """
    if name is not None:
        return name
    parsed = Reference.parse(ref)
    own = parsed.name or session.resolve(ref).name
    if own is None:
        raise InvalidInputError(f"{ref} has no name that its log could be called after: pass name=")
    return f"{own}/serving"


def model_of(session: Session, ref: str) -> str | None:
    """Return the digest of the model whose rows are asked for; None for a bare name: all of its models."""
    parsed = Reference.parse(ref)
    return None if parsed.name is not None and str(parsed) == parsed.name else session.resolve(ref).digest


def segments(session: Session, name: str, *, since: datetime | None = None, until: datetime | None = None) -> list[Stored]:
    """Return the segments that may have rows of a window, in the order in which they were stored; none twice.

    Raises:
        NotFoundError: no such log.
        InvalidInputError: a time is naive.
    """
    for moment in (since, until):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInputError(f"{moment} has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    found: dict[tuple[str, int, str], Stored] = {}
    for version in versions(session, name):
        about = version.metadata.get("serving")
        if not isinstance(about, Mapping):
            continue
        try:
            start, end = (datetime.fromisoformat(str(about[key])) for key in ("start", "end"))
            one = Stored(
                f"{name}:v{version.version}", str(about["stream"]), int(about["number"]), start, end, int(about["rows"]),
                str(about["model"]), version.removed,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptionError(f"{name}:v{version.version} is not described as a segment: {error}") from error
        if (since is None or end >= since) and (until is None or start <= until):
            found.setdefault((one.stream, one.number, version.digest), one)
    return [*found.values()]


def read(
    session: Session, ref: str, *, name: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> "pa.Table":
    """Return the rows of a window; see `Store.served`."""
    return _read(session, ref, name, since, until)[0]


def read_labelled(
    session: Session, ref: str, *, name: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> "pa.Table":
    """Return the rows of a window, each with the labels that were logged later under its id; those are no rows of their own."""
    table, roles = _read(session, ref, name, since, until)
    labels = [column for column, role in roles.items() if role == "label" and column in table.column_names]
    others = [column for column, role in roles.items() if role != "label" and column in table.column_names]
    return _with_labels(table, labels, others) if labels and others else table


def _with_labels(table: "pa.Table", labels: Sequence[str], others: Sequence[str]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    ids = table.column("_id").to_pylist()
    for column in labels:
        values = table.column(column).to_pylist()
        late = {key: value for key, value in zip(ids, values, strict=True) if value is not None}
        filled = [late.get(key) if value is None else value for key, value in zip(ids, values, strict=True)]
        at = table.column_names.index(column)
        table = table.set_column(at, column, pa.array(filled, table.schema.field(column).type))
    has_call = pc.is_valid(table.column(others[0]))
    for column in others[1:]:
        has_call = pc.or_(has_call, pc.is_valid(table.column(column)))
    has_label = pc.is_valid(table.column(labels[0]))
    for column in labels[1:]:
        has_label = pc.or_(has_label, pc.is_valid(table.column(column)))
    return table.filter(pc.or_(has_call, pc.invert(has_label)))


def _read(
    session: Session, ref: str, name: str | None, since: datetime | None, until: datetime | None
) -> "tuple[pa.Table, dict[str, str]]":
    """Return the rows of a window, and what each column is: input, output or label."""
    chosen, model = segments(session, log_name(session, ref, name), since=since, until=until), model_of(session, ref)
    tables: list[pa.Table] = []
    chains: dict[str, _Chain] = {}
    roles: dict[str, str] = {}
    for one in chosen:
        chain = chains.setdefault(one.stream, _Chain(one.number - 1, None, known=False))
        if one.removed:
            chain.number, chain.known = one.number, False
            continue
        record, digest, table = _opened(session, one)
        if (fault := _fault(chain, one, record, digest, table)) is not None:
            raise CorruptionError(f"{one.ref}: {fault}")
        if (model is None or record["model"]["digest"] == model) and table.num_rows:
            tables.append(_within(table, since, until))
            roles |= record.get("columns", {})
    return (joined(tables) if tables else _no_rows()), roles


def _opened(session: Session, one: Stored) -> "tuple[dict[str, Any], str, pa.Table]":
    digest = artifact(session, one.ref).files[0].digest
    with open_file(session, one.ref) as file:
        record = read_record(file, one.ref)
        file.seek(0)
        return record, str(digest), read_table(file, one.ref)


def _within(table: "pa.Table", since: datetime | None, until: datetime | None) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    kind = pa.timestamp("us", "UTC")
    for moment, compare in ((since, pc.greater_equal), (until, pc.less_equal)):
        if moment is not None:
            table = table.filter(compare(table.column("_time"), pa.scalar(moment.astimezone(UTC), kind)))
    return table


def _no_rows() -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415

    kinds = (pa.timestamp("us", "UTC"), pa.string(), pa.int64(), pa.float64())
    return pa.table({name: pa.array([], kind) for name, kind in zip(("_time", "_id", "_seq", "_latency"), kinds, strict=True)})


def _fault(chain: _Chain, one: Stored, record: Mapping[str, Any], digest: str, table: "pa.Table") -> str | None:
    """Return why a segment does not follow the one before in its stream; None if it does. The chain then ends with it."""
    number = int(record["number"])
    if (str(record["stream"]), number) != (one.stream, one.number) or record["rows"] != one.rows:
        return "its version is described as another segment"
    if any(datetime.fromisoformat(str(record[key])) != moment for key, moment in (("start", one.start), ("end", one.end))):
        return f"its version is described with another time than {record['start']} to {record['end']}"
    if chain.seen.get(number) == digest:
        return None  # stored twice, as after a lost reply
    if number != chain.number + 1:
        return f"segment {number} of stream {one.stream[:12]} follows segment {chain.number}"
    if chain.known and record["previous"] != chain.previous:
        return f"segment {number} of stream {one.stream[:12]} does not name the digest of the one before"
    if table.num_rows != record["rows"]:
        return f"it has {table.num_rows:,} rows, and its record says {record['rows']:,}"
    numbers = table.column("_seq").to_numpy()
    if len(numbers) and (int(numbers[0]) <= chain.last or bool((numbers[1:] <= numbers[:-1]).any())):
        return "its rows are not in the order of their calls"
    chain.number, chain.previous, chain.known, chain.seen[number] = number, digest, True, digest
    chain.last = int(numbers[-1]) if len(numbers) else chain.last
    chain.closed = bool(record["closed"])
    return None


def check(session: Session, name: str) -> LogCheck:
    """Check every segment of a log: its bytes, its place in its chain, and the order of its rows."""
    chains: dict[str, _Chain] = {}
    findings, notes = [], []
    totals: dict[str, dict[str, int]] = {"lost": {}, "refused": {}}
    rows = not_sampled = 0
    found = segments(session, name)
    for one in found:
        chain = chains.setdefault(one.stream, _Chain())
        if one.removed:
            notes.append(f"{one.ref} was removed: its {one.rows:,} rows are gone, and its tombstone says why")
            chain.number, chain.known = one.number, False
            continue
        try:
            record, digest, table = _opened(session, one)
        except (CorruptionError, NotFoundError) as error:
            findings.append(f"{one.ref}: {error}")
            chain.number, chain.known = one.number, False
            continue
        fault = _fault(chain, one, record, digest, table)
        if fault is not None:
            findings.append(f"{one.ref}: {fault}")
            chain.number, chain.previous, chain.known = int(record["number"]), digest, True
        rows += table.num_rows
        not_sampled += int(record["not_sampled"])
        for what, counts in totals.items():
            for reason, count in record[what].items():
                counts[reason] = counts.get(reason, 0) + int(count)
    notes += [
        f"stream {stream[:12]} was not closed: its process serves still, or was killed"
        for stream, chain in chains.items()
        if not chain.closed
    ]
    times: Sequence[datetime] = [moment for one in found if one.rows for moment in (one.start, one.end)]
    return LogCheck(
        tuple(findings), tuple(notes), name, len(chains), len(found), rows, not_sampled, totals["lost"],
        totals["refused"], min(times, default=None), max(times, default=None),
    )  # fmt: skip
