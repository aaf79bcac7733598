"""Names that mean secrets: of options, parameters, environment variables, headers and fields. Pure functions on text.

The last words of a name decide: `db_password`, `hf-token`, `OPENAI_API_KEY`. Names that only look alike (`max_tokens`,
`sort_key`, `eos_token`, `secret_santa.csv`) are left alone: a redacted parameter is lost.
"""

import re
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

__all__ = ["MARK", "Weight", "is_harmless", "weight_of"]

MARK: Final = "[redacted]"  # replaces a secret


def _all(words: str) -> frozenset[str]:
    return frozenset(words.split())


class Weight(IntEnum):
    """How certainly the value of a name is a secret.

    Attributes:
        NONE: it is not.
        TOKEN: unless its value is a number or a piece of text, as the tokens of tokenizers are.
        LOGIN: unless its value names a way to log in, or a file.
        ALWAYS: whatever its value looks like.
    """

    NONE = 0
    TOKEN = 1
    LOGIN = 2
    ALWAYS = 3


_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS: Final = _all(
    "password passwd passwords passphrase passphrases passcode secret secrets apikey apikeys authorization pgpassword"
)
_ENDINGS: Final = ("password", "passwd", "passphrase")  # of names without a separator: `dbpassword`
_COMPOUNDS: Final = _all(
    "clientsecret appsecret apisecret secretkey accesskey privatekey accountkey authkey sshkey signingkey masterkey sharedkey "
    "licensekey encryptionkey authtoken accesstoken apitoken refreshtoken idtoken sessiontoken bearertoken userpass dbpass "
    "sessionid connectionstring connstr sastoken secretaccesskey subscriptionkey sharedaccesskey phpsessid jsessionid"
)
# Words before `key` that make it a secret; sort_key, primary_key, rng_key, cache_key … are not secrets.
_KEYS: Final = _all(
    "api access secret private account storage shared master signing encryption decryption ssh deploy service license auth admin "
    "subscription functions function webhook wandb hf huggingface openai anthropic cohere mistral gemini google gcp aws azure comet "
    "neptune clearml kaggle github gitlab bitbucket slack stripe sendgrid mailgun twilio datadog dd newrelic sentry pinecone weaviate "
    "qdrant replicate together groq deepseek langchain langsmith langfuse tavily serp serpapi elevenlabs minio s3access redis mongo "
    "database db jwt hmac rsa pgp gpg ssl tls app application client session security ingest telemetry host bot consumer publish "
    "instrumentation labelbox roboflow snowflake databricks mlflow dagshub vault"
)
# Words before `token` that make it a piece of text, or a number; tokenizers have dozens of such parameters.
_TEXT_TOKENS: Final = _all(
    "bos eos pad mask unk cls sep image video audio start end stop special eot sot boi eoi next previous prev first last begin "
    "beginning forced word sub target source prompt separator trigger class placeholder initializer modifier patch query blank "
    "delimiter continuation page max min num per total count n new input output text oov vocab vocabulary language lang task "
    "timestamp silence space newline register memory think tool system assistant fim prefix suffix middle cont nonce"
)
_LOGIN_TOKENS: Final = _all(
    "api access auth authentication refresh bearer session security id personal private hf hub huggingface github gh gitlab slack "
    "bot app oauth csrf xsrf jwt vault npm pypi aws azure gcp google wandb comet neptune mlflow databricks dbt telegram discord "
    "service deploy user client admin device web sas ci job runner registry upload push kaggle openai anthropic cloudflare "
    "digitalocean do heroku netlify vercel sentry sonar snyk docker influx influxdb consul k8s kube kubernetes master write read"
)
_MANY_TOKENS: Final = _all("api access auth refresh bearer session")
_BEFORE_PASS: Final = _all(
    "db user my mysql pg postgres sql smtp mail email admin root ftp sftp ssh login auth http https proxy key store trust redis "
    "mongo rabbitmq ldap keystore truststore database client git nexus jenkins docker registry sudo"
)
_LOGINS: Final = _all("auth credential credentials creds cred cookie cookies bearer jwt sas otp totp pass pw pwd")
_PAIRS: Final = frozenset(
    {("connection", "string"), ("conn", "str"), ("conn", "string"), ("webhook", "url"), ("access", "signature")}
)

# Values that name a way to get a secret, or no secret.
_NO_VALUE: Final = _all("none null true false yes no env environment prompt ask undefined unset missing required optional")
_WAYS: Final = _all(
    "auto default anon anonymous cache cloud browser google_default basic bearer digest kerberos ldap oauth oauth2 sso iam ntlm "
    "negotiate token password key disabled enabled off on unknown empty"
)
_PLACEHOLDER: Final = re.compile(r"\$[A-Z_][A-Z0-9_]*|\$\{[^}]*\}|\$\([^)]*\)|\{\{.*\}\}|%[A-Z_]+%|\*+|x{3,}|\.{3}|…")
_PIECE_OF_TEXT: Final = re.compile(r"<.*>|\[.*\]|\{.*\}|\W|.*\s.*", re.DOTALL)
_PATH: Final = re.compile(r"(?:~|\.{1,2})?/.*|[A-Za-z]:\\.*|.*\.(?:json|pem|crt|cer|ya?ml|toml|txt|ini|cfg)", re.DOTALL)
_COUNT: Final = re.compile(r"[+-]?\d{1,6}(?:\.\d*)?", re.ASCII)


@lru_cache(maxsize=4096)
def weight_of(name: str) -> Weight:
    """Return how certainly the value of this name is a secret."""
    words = [word.lower() for word in _WORDS.findall(name[-200:].removeprefix("-D"))]
    while len(words) > 1 and words[-1].isdecimal():
        words.pop()  # password2
    if not words:
        return Weight.NONE
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    sure = (
        last in _ALWAYS
        or last in _COMPOUNDS
        or last.endswith(_ENDINGS)
        or (last in {"key", "keys"} and before in _KEYS)
        or (last in {"token", "tokens"} and before in _LOGIN_TOKENS and (last == "token" or before in _MANY_TOKENS))
        or (last in {"pass", "pw", "pwd"} and before in _BEFORE_PASS | _KEYS)
        or (last == "pat" and before in _KEYS | _LOGIN_TOKENS | {"ext"})  # a personal access token
        or (before, last) in _PAIRS
        or words[-3:] == ["access", "key", "id"]
    )
    if sure:
        return Weight.ALWAYS
    if last == "token":
        return Weight.NONE if before in _TEXT_TOKENS else Weight.TOKEN
    if last in {"pass", "pw", "pwd"} and before:
        return Weight.NONE
    return Weight.LOGIN if last in _LOGINS else Weight.NONE


def is_harmless(value: Any, weight: Weight) -> bool:
    """Whether a value of such a name need not be hidden: nothing, a switch, a placeholder, a count, a piece of text, a path."""
    if weight is Weight.NONE or value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return weight is not Weight.ALWAYS
    if not isinstance(value, str):
        return False
    text = value.strip()
    if not text or text.startswith(MARK) or text.lower() in _NO_VALUE or _PLACEHOLDER.fullmatch(text):
        return True
    if weight is Weight.ALWAYS:
        return False
    if text.lower() in _WAYS or _COUNT.fullmatch(text):
        return True
    return (_PIECE_OF_TEXT if weight is Weight.TOKEN else _PATH).fullmatch(text) is not None
