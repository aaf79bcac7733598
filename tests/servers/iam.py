"""An S3 server that knows users and what they may do: policies are attached to them, and every request is judged."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = Path(__file__).with_name("iam_server.py")


class Iam:
    """The server and its administrator."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._key: tuple[str, str] = ("AKIANOBODYNOBODY0001", "nobody-is-asked-yet")
        user = self._client("iam")
        user.create_user(UserName="admin")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "iam:*"], "Resource": "*"}]}
        user.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=json.dumps(everything))
        made = user.create_access_key(UserName="admin")["AccessKey"]
        self._key = (made["AccessKeyId"], made["SecretAccessKey"])

    def _client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self._key[0],
            aws_secret_access_key=self._key[1],
        )

    @property
    def s3(self) -> Any:
        """S3 as the administrator sees it."""
        return self._client("s3")

    def bucket(self, *, lock: bool = False) -> str:
        """Make a bucket; with `lock` every object in it is kept for a day in COMPLIANCE mode."""
        name = f"test-{uuid.uuid4().hex}"
        self.s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if lock:
            rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
            self.s3.put_object_lock_configuration(
                Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
            )
        return name

    def user(self, *policies: Mapping[str, Any]) -> dict[str, str]:
        """Make a user who may do exactly this; return the environment of a process that acts as the user."""
        name = f"user-{uuid.uuid4().hex[:12]}"
        iam = self._client("iam")
        iam.create_user(UserName=name)
        for number, policy in enumerate(policies):
            iam.put_user_policy(UserName=name, PolicyName=f"policy-{number}", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "ARTIFACTSTORE_RETRY_SECONDS": "5",
        }


@pytest.fixture(scope="session")
def iam_server() -> Iterator[Iam]:
    """An S3 server in a process of its own (whether moto asks for permission is a setting of a whole process)."""
    with subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            server = Iam(process.stdout.readline().strip())
            process.stdin.write("judge\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("judging")
            yield server
        finally:
            process.stdin.close()
            process.terminate()


@pytest.fixture
def iam(iam_server: Iam, isolated: Path) -> Iam:
    return iam_server


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Act as a user from here on."""

    def become(user: Mapping[str, str]) -> None:
        for name, value in user.items():
            monkeypatch.setenv(name, value)

    return become
