"""The actor as an identity provider states it: a CI job's token, verified by the keys that count.

Decided once a process, when it first writes; processes that it forks keep it. The token is dropped at once: what is recorded
are some of its claims, and `identity` is `oidc` only where a key has vouched for them.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.wrappers.retry_policy import retried
from artifactstore.errors import InvalidInputError
from artifactstore.model.actor import Actor
from artifactstore.runtime.remarks import remark

if TYPE_CHECKING:
    from artifactstore.signing.keys import Keys

__all__ = ["stated_actor"]

_AUDIENCE: Final = "artifactstore"
_LONGEST: Final = 500  # characters of a claim
# What is recorded, as GitHub and GitLab call it; never who may be reached how: no addresses, no names of people but logins.
_CLAIMS: Final = (
    "iss", "sub", "repository", "repository_id", "repository_owner", "ref", "ref_type", "ref_protected", "sha", "run_id",
    "run_number", "run_attempt", "workflow", "workflow_ref", "job_workflow_ref", "actor", "event_name", "environment",
    "runner_environment", "project_path", "project_id", "namespace_path", "pipeline_id", "pipeline_source", "job_id", "user_login",
    "ci_config_ref_uri", "environment_protected", "deployment_tier",
)  # fmt: skip
_known: dict[bytes, Actor] = {}  # a digest of what decides it → the actor
_DECIDES: Final = (
    "ARTIFACTSTORE_IDENTITY",
    "ARTIFACTSTORE_ID_TOKEN",
    "ARTIFACTSTORE_ID_TOKEN_FILE",
    "ARTIFACTSTORE_KEYS",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
)


def stated_actor(wanted: str | None, other: Actor) -> Actor:
    """Return the actor whom a token states, or another one where no token is asked for.

    Args:
        wanted: `oidc`, or None: only a token that was given to this process for that purpose is looked at.
        other: the actor without a token.

    Raises:
        InvalidInputError: the identity must be `oidc`, and there is no token; or keys are given, and do not vouch for it.
        BackendError: the identity provider did not answer.
        UnsupportedError: the extra `sign` is not installed.
    """
    if wanted not in (None, "", "oidc"):
        raise InvalidInputError(f"identity {wanted!r:.60}: expected oidc, or nothing")
    given = any(os.environ.get(one) for one in ("ARTIFACTSTORE_ID_TOKEN", "ARTIFACTSTORE_ID_TOKEN_FILE"))
    if not wanted and not given:
        return other
    key = sha256(repr((wanted, other.actor, [os.environ.get(one) for one in _DECIDES])).encode()).digest()
    if key not in _known:
        _known.clear()
        _known[key] = _stated(other, must=bool(wanted))
    found = _known[key]
    return Actor(found.actor, found.identity, other.host, other.tool, found.claims)


def _stated(other: Actor, *, must: bool) -> Actor:
    from artifactstore.signing.ci_tokens import SOURCES, can_request, given_token, request_token  # noqa: PLC0415 - few need it
    from artifactstore.signing.jwks import parse_jwt  # noqa: PLC0415 - as above
    from artifactstore.signing.keys import Keys  # noqa: PLC0415 - as above
    from artifactstore.signing.verify import verify_identity  # noqa: PLC0415 - as above

    keys = Keys.load()
    text = given_token()
    if text is None:
        if not can_request():
            raise InvalidInputError(f"the identity must be oidc, and this process has no token: looked for {SOURCES}")
        audience = _audience(keys)
        text = retried(lambda: request_token(audience))
    token = parse_jwt(text)
    claims = _recorded(token.claims)
    if keys is None or not keys.issuers:
        if must:
            raise InvalidInputError(
                "the identity must be oidc, and no keys of an issuer are given to verify the token with: set ARTIFACTSTORE_KEYS"
            )
        remark(
            f"the token of {token.subject[:200]} is not verified, so the actor is recorded as claimed: set ARTIFACTSTORE_KEYS to "
            "a file with the keys of its issuer"
        )
        name = other.actor if other.identity == "claimed" else token.subject
        return Actor(name[:_LONGEST], "claimed", other.host, other.tool, claims)
    verify_identity(token, keys, time=datetime.now(UTC), audience=_AUDIENCE)
    return Actor(token.subject[:_LONGEST], "oidc", other.host, other.tool, claims)


def _audience(keys: "Keys | None") -> str:
    """Return the audience to request a token for: that of the keys' issuers, if they agree on one."""
    named = set() if keys is None else {one.audience or _AUDIENCE for one in keys.issuers}
    return named.pop() if len(named) == 1 else _AUDIENCE


def _recorded(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return what is recorded of a token, as texts."""
    found = {}
    for name in _CLAIMS:
        value = claims.get(name)
        if isinstance(value, bool):
            value = str(value).lower()
        if isinstance(value, str | int) and value != "":
            found[name] = str(value)[:_LONGEST]
    return found
