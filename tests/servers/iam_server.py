"""A program: moto's S3 with IAM, made to judge as AWS does where moto does not. Prints its address, then serves.

moto leaves out two rules that decide whether a policy is right, so they are added here: `s3:prefix` in conditions
(`StringLike` and `Null`; a request without a prefix has no such key), and 403 instead of 404 for a missing object
to those who may not list the bucket (which asks with no prefix).
"""

import logging
import sys
import threading
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs, urlsplit

_REQUEST = threading.local()


def holds(conditions: dict[str, dict[str, Any]], prefix: str | None) -> bool:
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            if key != "s3:prefix" or operator not in {"StringLike", "Null"}:
                raise NotImplementedError(f"{operator} {key}")
            if operator == "Null" and (prefix is None) != (wanted == "true"):
                return False
            if operator == "StringLike":
                patterns = [wanted] if isinstance(wanted, str) else wanted
                if prefix is None or not any(fnmatchcase(prefix, pattern) for pattern in patterns):
                    return False
    return True


def patch() -> None:
    from moto.core.authorization import ActionAuthenticatorMixin
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult, S3IAMRequest
    from moto.s3.responses import S3Response

    lock, put, judge = threading.Lock(), S3Response.put_object, IAMPolicyStatement.is_action_permitted
    authorize = ActionAuthenticatorMixin._authenticate_and_authorize_s3_action

    def put_in_one_step(self):
        with lock:
            return put(self)

    def judge_with_conditions(self, action, *rest, **named):
        conditions = self._statement.get("Condition")
        if conditions is not None and action.startswith("s3:") and not holds(conditions, getattr(_REQUEST, "prefix", None)):
            return PermissionResult.NEUTRAL
        return judge(self, action, *rest, **named)

    def authorize_as_aws_does(self, bucket_name=None, key_name=None):
        query = parse_qs(urlsplit(self.uri).query, keep_blank_values=True)
        listing = self.data.get("Action") == "ListBucket"
        _REQUEST.prefix = query["prefix"][0] if listing and "prefix" in query else None
        authorize(self, bucket_name=bucket_name, key_name=key_name)
        if self.data.get("Action") == "GetObject" and key_name and self.backend.get_object(bucket_name, key_name) is None:
            self.data["Action"] = "ListBucket"
            try:
                authorize(self, bucket_name=bucket_name)
            finally:
                self.data["Action"] = "GetObject"

    S3Response.put_object = put_in_one_step
    IAMPolicyStatement.is_action_permitted = judge_with_conditions
    ActionAuthenticatorMixin._authenticate_and_authorize_s3_action = authorize_as_aws_does
    assert S3IAMRequest.check_action_permitted  # what all of this hangs on


def main() -> None:
    from moto import settings
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    patch()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.readline()  # the administrator has been made
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    print("judging from here on", flush=True)
    sys.stdin.read()  # until the test run closes it or is gone
    server.stop()


if __name__ == "__main__":
    main()
