"""What a service's refusal means for its user, in words: the cause, and not the most frequent one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifactstore.backend.azure import errors
from artifactstore.backend.errors import Request
from artifactstore.backend.s3 import errors as s3_errors


class RefusedError(Exception):
    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("code", "status", "says", "never"),
    [
        ("InvalidObjectState", 403, "archived.*restore it first", "credentials"),
        ("AllAccessDisabled", 403, "has disabled all access", "check the credentials"),
        ("AccountProblem", 403, "a problem with the account", "check the credentials"),
        ("KMS.DisabledException", 400, r"the object's encryption key \(KMS\)", "AWS_ENDPOINT_URL"),
        ("KMS.AccessDeniedException", 403, r"the object's encryption key \(KMS\)", "s3:GetObject"),
        ("RequestTimeTooSkewed", 403, "set this machine's clock", "credentials"),
        ("AccessDenied", 403, "check the credentials", "archived"),
    ],
)
def test_a_refusal_of_s3_names_its_cause(code: str, status: int, says: str, never: str):
    request = Request("s3://b/p", "b", "read", "packs/00/x.pack")
    failure = s3_errors.explain(RefusedError(code, status), request)
    with pytest.raises(Exception, match=says) as raised:
        raise failure  # type: ignore[misc]
    assert never not in str(raised.value)
    assert not getattr(failure, "transient", True)


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("BlobArchived", 409, "archive tier: rehydrate it first"),
        ("BlobBeingRehydrated", 409, "hours"),
        ("AuthorizationFailure", 403, "firewall"),
    ],
)
def test_a_refusal_of_azure_names_its_cause(code: str, status: int, says: str):
    request = Request("abfss://c/p", "c", "read", "packs/00/x.pack")
    assert says in str(errors.of_reply(status, code, request))


NAMES = {
    b"\xc3\xa9": "PYTHONUTF8=1",
    b"\xe2\x82\xac.txt": "PYTHONUTF8=1",
    b"\xe9": "not valid UTF-8",
    b"\xc3": "not valid UTF-8",
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_good_name_that_the_locale_can_not_read_is_not_called_a_bad_one(tmp_path: Path):
    for number, name in enumerate(NAMES):
        (tmp_path / str(number)).mkdir()
        with open(os.fsencode(tmp_path / str(number)) + b"/" + name, "w"):  # noqa: PTH123 - a name of bytes
            pass
    code = (
        "import sys, artifactstore\n"
        "for number in range(4):\n"
        "    try: artifactstore.open(sys.argv[1] + '/s', cache=None).put(sys.argv[1] + f'/{number}', 'd')\n"
        "    except artifactstore.InvalidInputError as error: print(error)\n"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    environment = {**plain, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    for said, expected in zip(done.stdout.splitlines(), NAMES.values(), strict=True):
        assert expected in said
        assert ("rename it" in said) == (expected == "not valid UTF-8")
