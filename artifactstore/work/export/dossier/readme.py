"""The text file of a dossier: how to read and check it without this library."""

from typing import Final

from artifactstore.model.version import VERSION
from artifactstore.printable import visible
from artifactstore.work.export.record import Record

__all__ = ["readme"]

_TEXT: Final = """\
Dossier of {title}
{line}

What a store records of {title}, of everything that it was made from, and of the
runs that made it, up to entry {seq} of its journal ({time}).

  store   {url}
  id      {store}

Written by artifactstore {version}, which is not needed to read it: these are plain files, JSON,
an HTML page and a picture.

START HERE
  ro-crate-preview.html    open it in any browser, also without a network.

WHAT IS IN IT
  files/NAME~vK/           the files of version K of NAME, byte for byte. A slash in a name
                           is a tilde here: team/model is team~model. Without a name, the
                           folder is called after the digest.
  environment/             Python, machine and exact packages of the runs, as JSON, and as
                           requirements for pip.
  listings/                of each artifact in files/ and environment/: its digest's origin, see
                           below.
  facts.jsonl              every fact of the journal about these artifacts and runs, one JSON
                           object a line, in order: entry, time (UTC), actor, identity (how the
                           actor is known; "claimed" and "os": not verified), reason, outcome
                           ("committed", or "void": it has no effect, and why), fact (its kind)
                           and fields (the fact as recorded).
  approvals.json           approvals and rejections: printed name, time, meaning, status. A
                           signature is a DSSE envelope: its payload is JSON in base64.
  signatures/              if files were signed: OpenSSF Model Signing bundles. The tool
                           "model_signing verify key" takes one with the folder in files/.
  verdicts.json            the verdicts of gates on moves of an alias such as "production": each
                           condition with its value and its limit.
  bom.cdx.json             the bill of materials: CycloneDX 1.6.
  lineage.svg              what was made from what.
  anchor.json              number and digest of the journal's last entry when this was written.
  ro-crate-metadata.json   all of it for programs: RO-Crate 1.1.
  SHA256SUMS               the SHA-256 of every other file.
{bundle}
HOW TO CHECK IT
  1. Nothing changed since it was written:

         sha256sum -c SHA256SUMS

     (macOS: shasum -a 256 -c SHA256SUMS; Windows: Get-FileHash, file by file.)
     Links have no line: only what they point to has.

  2. The files are those that the journal means. The digest of an artifact is that of its
     listing, a text file with a line for each file (digest, two spaces, path) and a line
     that begins with # for anything that is no file (empty folders, links, formats):

         {tool} listings/NAME~vK.txt      prints the artifact's digest
         cd files/NAME~vK && grep -v '^#' ../../listings/NAME~vK.txt | {tool} -c

     {about_tool}

  3. The journal itself was not shortened or written anew. Each entry has the digest of the
     one before it, so the digest of the last one, in anchor.json, stands for all of them.
     Compare it with an anchor that was kept elsewhere, or check the store with
     "artifactstore verify --anchor {head}".
     The dossier is not signed as a whole: whoever hands it over vouches for it.
"""
_BUNDLE: Final = """\
  store.zip                the whole store with its journal, for the program artifactstore:
                           "artifactstore import store.zip", or open it as zip://store.zip.
"""
_BLAKE3: Final = "b3sum: https://github.com/BLAKE3-team/BLAKE3. Models have SHA-256 digests of their files, too."
_SHA256: Final = "This store's digests are SHA-256."


def readme(record: Record, *, head: str, time: str, bundle: bool) -> str:
    """Return the text; `head` is the last entry that was read, `time` its time."""
    title = visible(record.title)
    is_sha256 = any(digest.startswith("sha256:") for digest in record.items)
    return _TEXT.format(
        title=title,
        line="=" * (11 + len(title)),
        url=visible(record.url),
        store=record.store,
        seq=head.partition(":")[0],
        head=head,
        time=time,
        version=VERSION,
        bundle=_BUNDLE if bundle else "",
        tool="sha256sum" if is_sha256 else "b3sum",
        about_tool=_SHA256 if is_sha256 else _BLAKE3,
    )
