"""Minimal permissions of a reader, a writer and a janitor as modes of folders."""

from artifactstore.backend.driver import Policy

__all__ = ["PERMISSIONS", "policy"]

PERMISSIONS = {
    "read": "read permission on the files, and read and execute permission on the folders",
    "list": "read and execute permission on the folders",
    "write": "write and execute permission on the folder",
    "delete": "write and execute permission on the folder",
}


def policy(url: str, role: str) -> Policy:
    """Return the minimal permissions of a role (see `driver.ROLES`) at a URL."""
    path = url.removeprefix("file://")
    rights, word = {
        "reader": ("u=rwX,g=rX,o=", "reads"),
        "writer": ("u=rwX,g=rwX,o=", "reads and writes"),
        "janitor": ("u=rwX,g=rwX,o=", "reads, writes and deletes"),
    }[role]
    lines = [f"chgrp -R <group> {_quoted(path)}", f"chmod -R {rights} {_quoted(path)}"]
    if role != "reader":
        lines.append(f"find {_quoted(path)} -type d -exec chmod g+s {{}} +")
    return Policy("\n".join(lines), None, _folder_notes(role, word))


def _folder_notes(role: str, word: str) -> tuple[str, ...]:
    notes = [f"a member of the group then {word}"]
    if role != "reader":
        notes.append("give writers umask 007, so that members can read and extend each other's folders")
    if role == "writer":
        notes.append(
            "file systems have no permission to add files without the permission to remove them; the sticky bit (chmod +t on each folder) at "
            "least keeps members from removing files of others"
        )
    return tuple(notes)


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"
