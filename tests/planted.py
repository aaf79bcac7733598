"""Secrets in the forms in which they come, to be planted where things are recorded by themselves and searched for afterwards."""

import random
import string
from collections.abc import Iterator

_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"

# By its own form: where it stands plays no part. (what, beginning, alphabet, length)
FORMS: list[tuple[str, str, str, int]] = [
    ("aws id", "AKIA", string.ascii_uppercase + string.digits, 16),
    ("aws session id", "ASIA", string.ascii_uppercase + string.digits, 16),
    ("github", "ghp_", _LETTERS, 36),
    ("github app", "ghs_", _LETTERS, 36),
    ("github fine", "github_pat_", _LETTERS + "_", 60),
    ("gitlab", "glpat-", _LETTERS + "-_", 20),
    ("gitlab deploy", "gldt-", _LETTERS, 20),
    ("slack", "xoxb-", _LETTERS + "-", 40),
    ("slack app", "xapp-", _LETTERS + "-", 40),
    ("hugging face", "hf_A1", _LETTERS, 32),
    ("openai", "sk-A1", _LETTERS, 46),
    ("openai project", "sk-proj-", _LETTERS + "-_", 60),
    ("anthropic", "sk-ant-api03-", _LETTERS + "-_", 80),
    ("stripe", "sk_live_", _LETTERS, 24),
    ("google", "AIza", _LETTERS + "-_", 35),
    ("google oauth", "ya29.", _LETTERS + "-_", 60),
    ("google client", "GOCSPX-", _LETTERS + "-_", 28),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJ", _LETTERS + "-_", 40),
    ("pypi", "pypi-AgEIcHlwaS5vcmc", _LETTERS + "-_", 60),
    ("npm", "npm_", _LETTERS, 36),
    ("docker hub", "dckr_pat_", _LETTERS + "-_", 27),
    ("databricks", "dapi", _HEX, 32),
    ("digital ocean", "dop_v1_", _HEX, 64),
    ("vault", "hvs.", _LETTERS + "-_", 90),
    ("groq", "gsk_", _LETTERS, 52),
    ("replicate", "r8_", _LETTERS, 37),
    ("new relic", "NRAK-", string.ascii_uppercase + string.digits, 27),
    ("atlassian", "ATATT3", _LETTERS + "-_", 100),
    ("pem", "-----BEGIN PRIVATE KEY-----\n", _LETTERS + "+/", 200),
    ("pem of rsa", "-----BEGIN RSA PRIVATE KEY-----\n", _LETTERS + "+/", 200),
]
ENDS = {"jwt": ".c2ln", "pem": "\n-----END PRIVATE KEY-----", "pem of rsa": "\n-----END RSA PRIVATE KEY-----"}

# By what stands around it, in a text or a line for a shell.
TEXTS: list[str] = [
    "true --password {}", "true --password={}", "true --db-password '{}'", "true --wandb-key {}", "true --hf-token {}",
    "true --api_key={} --lr 0.1", "API_KEY={} true", "export SECRET_KEY={}", "env PGPASSWORD={} true", "true -DdbPassword={}",
    "curl -u bob:{} http://h/x", "curl --user bob:{} http://h/x", "curl -H 'Authorization: Bearer {}' http://h/x",
    'curl -H "X-Api-Key: {}" http://h', "curl -H 'PRIVATE-TOKEN: {}' h", "curl -b session={} h", "mysql -u root -p{} db", "mysqldump -p{} db",
    "sshpass -p {} ssh h", "sshpass -p{} ssh h", "redis-cli -a {} ping", "docker login -u me -p {}", "az login --service-principal -p {}",
    "openssl rsa -passin pass:{}", "sqlcmd -U sa -P {}", "ldapsearch -w {}", "7z x -p{} a.7z", "smbclient //h/x -U bob%{}",
    "mongosh -u me -p {}", "https://bob:{}@host/x", "https://{}@host/x.git", "git+https://oauth2:{}@host/x.git",
    "postgresql://bob:{}@host:5432/db", "redis://:{}@host:6379/0", "mongodb+srv://bob:{}@host/db", "amqp://bob:{}@host//",
    "https://a.blob.core.windows.net/c/x?sv=1&sig={}&se=2", "https://b.s3.amazonaws.com/x?X-Amz-Signature={}", "http://h/x?a=1&access_token={}",
    "http://h/x?api_key={}#f", "https://storage.googleapis.com/b/x?X-Goog-Signature={}", "http://h/x#id_token={}&x=1",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=x", "Endpoint=sb://h/;SharedAccessKey={}",
    "Server=h;User Id=sa;Password={};", "Driver=x;Uid=bob;Pwd={}", "host=h user=bob password={} dbname=d", "machine h login bob password {}",
    "h:5432:db:bob:{}", "//registry.npmjs.org/:_authToken={}", '{{"auths": {{"h": {{"auth": "{}"}}}}}}', '{{"password": "{}", "a": 1}}',
    "{{'client_secret': '{}'}}", '{{\\"secret\\": \\"{}\\"}}', "password: {}", "db:\n  password: {}\n", "Authorization: Basic {}", "Authorization: token {}",
    "Cookie: session={}; theme=dark", "Set-Cookie: sid={}", "https://conda.example/t/{}/main", "https://hooks.slack.com/services/T0/B0/{}",
    "https://discord.com/api/webhooks/12345/{}", "Command '['mysql', '-p{}']' returned non-zero exit status 1",
    "Command '['x', '--password', '{}']' returned non-zero exit status 1", "Config(user='bob', password='{}')", "login failed with token={}",
    "401 for key sent as X-Auth-Token: {}", "bearer {}", "wrong passphrase: {}", "aws_secret_access_key = {}", "AZURE_CLIENT_SECRET={}",
]  # fmt: skip

# Names of parameters, arguments and options that hold a secret.
NAMES: list[str] = [
    "password", "db_password", "dbPassword", "PASSWORD", "passwd", "user_pass", "secret", "client_secret", "clientSecret", "api_key",
    "apiKey", "API-KEY", "openai_api_key", "wandb_key", "hf_token", "HF_TOKEN", "access_token", "auth_token", "github_token", "token",
    "aws_secret_access_key", "aws_session_token", "account_key", "sas_token", "connection_string", "private_key", "authorization",
    "cookie", "passphrase", "credentials", "bearer_token", "webhook_url", "ssh_key", "encryption_key", "password2",
    "snowflake_pass", "GITHUB_PAT", "databricks-pat", "AZURE_DEVOPS_EXT_PAT",
]  # fmt: skip

# What must stay as it is.
HARMLESS: dict[str, object] = {
    "render_pass": "beauty", "first_pass": "2", "pat": "*.csv", "file_pat": "a*", "max_tokens": 512, "max_token": "512", "tokenizer": "gpt2", "token_count": "7", "num_tokens": 5, "eos_token": "</s>", "pad_token": "[PAD]",
    "special_tokens": ["<s>", "</s>"], "placeholder_token": "<cat>", "stop_token": "END", "key": "customer_id", "keys": ["a", "b"],
    "sort_key": "name", "primary_key": "id", "foreign_key": "id2", "partition_key": "day", "cache_key": "abc123def456", "rng_key": "0,42",
    "num_keys": 3, "key_dim": 64, "query_key": "q", "public_key": "ssh-rsa AAAA", "secret_santa.csv": "names", "secretary": "Ann",
    "author": "Ann", "authors": ["Ann"], "passes": 3, "low_pass": "0.5", "num_pass": 2, "bypass": True, "compass": "north", "monkey": "x",
    "keyboard": "de", "pin_memory": True, "use_auth": True, "use_auth_token": False, "password_length": 12, "token_type": "bpe",
    "model_signature": "v2", "session_id": "2024-01-05", "auth": "none", "token": None, "password": None, "api_key": "${API_KEY}",
    "credentials": "/home/me/creds.json", "image_key": "jpg", "attention": "flash", "basic": "yes", "tokens_per_second": 3.5,
    "digest": "0123456789abcdef0123456789abcdef01234567", "url": "https://example.org/data.csv?page=2", "path": "s3://bucket/key=1/x.parquet",
    "remote": "ssh://git@host/x.git", "store": "abfss://box@account.dfs.core.windows.net/ml", "text": "the secret: practise", "n": "a==b",
    "note": "invalid token: unexpected", "claim": "Bearer authentication failed", "signs": "a:b:c:d", "package": "@scope/name",
}  # fmt: skip


def forms(seed: int) -> Iterator[tuple[str, str]]:
    """Yield what it is and a secret, of each that its form gives away."""
    chance = random.Random(seed)
    for what, begin, alphabet, length in FORMS:
        yield what, begin + "".join(chance.choices(alphabet, k=length)) + ENDS.get(what, "")


def value(seed: int) -> str:
    """Return a secret that nothing but its surroundings gives away."""
    return f"Zx{seed:04d}" + "".join(random.Random(seed).choices(_LETTERS, k=14))
