"""Secrets are taken out, marked, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore.model.redaction import MARK, Redactor
from artifactstore.model.secret_names import Weight, weight_of
from tests.planted import HARMLESS, NAMES, TEXTS, forms, value

AROUND = ["{}", "x {} y", "got '{}'", '{{"a": "{}"}}', "--x={}", "http://h/{}/x", "a\n{}\nb", "({})", "key:{}"]


@pytest.mark.parametrize("seed", range(4))
def test_what_its_form_gives_away_is_hidden_wherever_it_stands(seed: int):
    for what, secret in forms(seed):
        for around in AROUND:
            text = around.format(secret)
            shown = Redactor().text(text)
            assert secret not in shown, (what, around)
            assert secret[-16:] not in shown, (what, around)
            assert MARK in shown, (what, around)
            assert MARK in Redactor().words(["p", text])[1], (what, around)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_what_its_surroundings_give_away_is_hidden(text: str):
    for seed in range(3):
        secret = value(seed)
        whole = text.format(secret)
        for shown in (
            Redactor().text(whole),
            Redactor().text(f"RuntimeError: {whole}"),
            " ".join(Redactor().words(["sh", "-c", whole])),
            str(Redactor().value({"a": [{"b": whole}]})),
        ):
            assert secret not in shown
            assert MARK in shown
        if not any(sign in whole for sign in ("\n", "'", '"', "Cookie", "= ", "login", "bearer")):
            assert secret not in " ".join(Redactor().words(whole.split()))
        assert Redactor().text(Redactor().text(whole)) == Redactor().text(whole), "it is marked once"


@pytest.mark.parametrize("name", NAMES)
def test_what_has_a_secret_name_is_hidden_in_every_form_of_value(name: str):
    secret = value(1)
    assert weight_of(name)
    for one in (
        {name: secret},
        {"a": {"b": [{name: secret}]}},
        {"env": [{"name": name, "value": secret}]},
        {name: [secret, secret]},
        ["p", f"--{name}", secret],
        ["p", f"--{name}={secret}"],
        {"argv": [f"{name}={secret}"]},
    ):
        shown = str(Redactor().value(one))
        assert secret not in shown
        assert MARK in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_alike_stays(name: str):
    given: Any = {name: HARMLESS[name]}
    assert Redactor().value(given) == given
    assert Redactor().value({"deep": [given]}) == {"deep": [given]}
    if isinstance(HARMLESS[name], str) and " " not in str(HARMLESS[name]):
        command = ["p", f"--{name}", str(HARMLESS[name]), f"{name}={HARMLESS[name]}"]
        assert Redactor().words(command) == command


@pytest.mark.parametrize(
    "command",
    ["docker run -u 1000:1000 -p 8080:80 x", "python -u train.py --lr 1e-3 -p 8", "curl -o x https://h/x", "git push -u origin main",
     "ssh -p 22 git@host", "mysql -u root --port 3306", "7z x a.7z", "unzip a.zip", "tar -pxf a.tar", "torchrun --nproc_per_node 8 t.py",
     "python -c pass --auth basic", "pytest -p no:cacheprovider", "kubectl get secrets -n x", "aws s3 cp s3://b/key x"],
)  # fmt: skip
def test_usual_commands_stay(command: str):
    assert Redactor().words(command.split()) == command.split()
    assert Redactor().text(command) == command


def test_numbers_are_hidden_under_sure_names_alone():
    given = {"password": 1234, "token": 5, "api_key": 7.5, "n": 3, "auth": True}
    assert Redactor().value(given) == {**given, "password": MARK, "api_key": MARK}
    assert weight_of("token") is Weight.TOKEN


def test_what_was_an_argument_is_hidden_where_it_comes_again():
    one, secret = Redactor(), value(5)
    one.words(["p", "--db-password", secret])
    assert one.text(f"no answer for {secret}!") == f"no answer for {MARK}!"
    assert one.value({"a": secret}) == {"a": MARK}
    one.words(["p", "--password", "train"])
    assert one.text("train the model") == "train the model", "a plain word is not worth it"
    assert Redactor([secret]).text(secret) == MARK


def test_the_secret_of_an_aws_key_is_told_by_the_id_beside_it():
    key, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert Redactor().words(["p", key, secret]) == ["p", MARK, MARK]
    assert secret not in Redactor().text(f"{key}:{secret}")
    assert Redactor().words(["p", secret]) == ["p", secret]


def test_source_code_stays_a_program():
    secret = value(7)
    code = "\n".join((
        "import os, wandb",
        f'os.environ["API_TOKEN"] = "{secret}1"',
        f"wandb.login(key='{secret}2')",
        f'password = """{secret}3"""',
        f"client(url='https://u:{secret}4@h/x', timeout=3)",
        f"!curl -H 'Authorization: Bearer {secret}5' h",
        f"%env HF_TOKEN={secret}6",
        "token = tokenizer.next_token(text)",
        "if token == '<s>': key = 'a'",
        "print('the token of', key)",
    ))  # fmt: skip
    shown = Redactor().source(code)
    assert secret not in shown
    assert shown.count(MARK) == 6
    assert shown.splitlines()[-3:] == code.splitlines()[-3:]
    compile("\n".join(line for line in shown.splitlines() if line[0] not in "!%"), "x", "exec")
    assert secret not in Redactor().source(f"%%bash\nexport TOKEN={secret}\n")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.text(alphabet="ab=:/@'\"\\-_ \n?&{[(,.;pK9%$", max_size=80),
    st.sampled_from(["password", "token", "Authorization", "://", "curl -u", ""]),
)
def test_no_text_breaks_it_and_what_is_marked_stays_marked(text: str, word: str):
    shown = Redactor().text(word + text + word)
    assert Redactor().text(shown).count(MARK) >= shown.count(MARK)
    Redactor().words((word + text).split(" "))
    Redactor().source(text + word)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["a", "-", "a=", "'", '"a ', "a:", "://", "eyJ", "&a=b", "ghp_", "sk-", "1:1111:", '\\"', " ", "secret ", "--"]
)
def test_long_texts_take_no_time_that_grows_faster_than_they_do(piece: str):
    Redactor().text(piece * (50_000 // len(piece)) + " password")
