"""SageMaker: a training job is a run, exports are what the service deploys, requests pass the service's own model."""

import gzip
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli.runner import run as cli
from artifactstore.errors import AlreadyExistsError, InvalidInputError
from artifactstore.integrations import sagemaker
from artifactstore.store import Store
from tests.servers.place import SERVERS

TOOLKIT = SERVERS / "sagemaker" / "bin" / "python"
PRINT = """
import json, logging
from sagemaker_training.environment import Environment
logging.disable()
print(json.dumps(Environment().to_env_vars()))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the service makes, with two channels, and the variables by which it is found."""
    base = tmp_path / "ml"
    for channel in ("training", "validation"):
        (base / "input" / "data" / channel).mkdir(parents=True)
        (base / "input" / "data" / channel / "part.csv").write_text(f"{channel}\n1\n")
    (base / "input" / "config").mkdir()
    (base / "input" / "config" / "hyperparameters.json").write_text('{"lr": "0.1", "epochs": "3"}')
    (base / "input" / "config" / "inputdataconfig.json").write_text(
        '{"training": {"TrainingInputMode": "File"}, "validation": {"TrainingInputMode": "File"}}'
    )
    (base / "input" / "config" / "resourceconfig.json").write_text(
        '{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"], "network_interface_name": "eth0"}'
    )
    (base / "model").mkdir()
    for name in [one for one in os.environ if one.startswith(("SM_", "TRAINING_JOB", "SAGEMAKER"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    monkeypatch.setenv("TRAINING_JOB_NAME", "job-9")
    monkeypatch.setenv("TRAINING_JOB_ARN", "arn:aws:sagemaker:eu-west-1:123456789012:training-job/job-9")
    return base


def train(store: Store, base: Path, **more: Any) -> None:
    with sagemaker.job(store, "train", model="churn/model", code=False, **more) as run:
        (base / "model" / "weights.bin").write_bytes(b"weights")
        run.log(auc=0.9)


def test_a_job_is_a_run_with_its_channels_parameters_and_model(store: Store, base: Path) -> None:
    store.put(base / "input" / "data" / "validation", "churn/validation")
    train(store, base)
    info = store.runs("train")[0]
    assert (info.id, info.status, info.params) == ("sagemaker-job-9", "finished", {"lr": "0.1", "epochs": "3"})
    assert info.job["TRAINING_JOB_ARN"].endswith("training-job/job-9")
    model = store.artifact("churn/model")
    assert (model.kind, model.run, model.metadata) == ("model", "sagemaker-job-9", {"sagemaker.job": "job-9"})
    inputs = {one.role: one.ref for one in model.inputs if one.role in {"training", "validation"}}
    assert inputs == {"training": "churn/model/channels/training:v1", "validation": "churn/validation:v1"}
    assert "churn/model/output" not in [one.name for one in store.names()]


def test_the_same_data_in_the_next_job_are_linked_and_not_stored_again(
    store: Store, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(store, base)
    monkeypatch.setenv("TRAINING_JOB_NAME", "job-10")
    (base / "output" / "data").mkdir(parents=True)
    (base / "output" / "data" / "report.json").write_text("{}")
    train(store, base)
    assert len(store.versions("churn/model/channels/training")) == 1
    assert [one.id for one in store.runs("train")] == ["sagemaker-job-9", "sagemaker-job-10"]
    assert store.artifact("churn/model/output").run == "sagemaker-job-10"


def test_an_error_reaches_the_service_and_the_caller(store: Store, base: Path) -> None:
    def fail() -> None:
        with sagemaker.job(store, "train", model="churn/model", code=False):
            raise ValueError("no gradient " + "x" * 5000)

    with pytest.raises(ValueError, match="no gradient"):
        fail()
    told = (base / "output" / "failure").read_text()
    assert told.startswith("ValueError: no gradient")
    assert len(told) == 1024
    assert store.runs("train")[0].status == "failed"


def test_the_second_host_has_a_run_of_its_own_and_stores_no_model(
    store: Store, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_HOSTS", '["algo-1", "algo-10", "algo-2"]')
    monkeypatch.setenv("SM_CURRENT_HOST", "algo-2")
    train(store, base)
    assert [one.id for one in store.runs("train")] == ["sagemaker-job-9-algo-2"]
    assert "churn/model" not in [one.name for one in store.names()]


def test_no_model_and_no_data_are_warned_of(store: Store, base: Path) -> None:
    (base / "input" / "data" / "training" / "part.csv").unlink()
    with (
        pytest.warns(UserWarning, match="no model is stored"),
        pytest.warns(UserWarning, match="training has no files"),
        sagemaker.job(store, "train", model="churn/model", code=False),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "value"),
    [("SM_HPS", "{"), ("SM_HPS", "[]"), ("SM_CHANNELS", '"x"'), ("SM_CHANNELS", "[1]"), ("SM_TRAINING_ENV", "[" * 50_000)],
)
def test_a_malformed_variable_is_named(store: Store, base: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match=name):
        train(store, base)
    assert not store.exists("churn/model")


def test_outside_of_a_job_it_says_so(store: Store, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINING_JOB_NAME")
    monkeypatch.delenv("TRAINING_JOB_ARN")
    with pytest.raises(InvalidInputError, match="TRAINING_JOB_NAME is not set"):
        train(store, base)


@pytest.mark.slow
@pytest.mark.skipif(not TOOLKIT.exists(), reason="sagemaker-training is not installed")
def test_the_variables_of_the_real_toolkit_are_read(store: Store, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([str(TOOLKIT), "-c", PRINT], capture_output=True, text=True, check=True, timeout=120)
    variables = json.loads(done.stdout.strip().splitlines()[-1])
    assert variables["SM_CHANNELS"] == '["training","validation"]'
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TRAINING_JOB_NAME")
    monkeypatch.delenv("TRAINING_JOB_ARN")
    monkeypatch.delenv("SAGEMAKER_BASE_DIR")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base / "elsewhere"))  # the variables of the toolkit say where everything is
    train(store, base)
    info = store.runs("train")[0]
    assert (info.id, info.params) == ("sagemaker-job-9", {"lr": 0.1, "epochs": 3})
    assert len([one for one in store.artifact("churn/model").inputs if one.role in {"training", "validation"}]) == 2


# -- exports


@pytest.fixture
def model(store: Store, tmp_path: Path) -> Store:
    folder = tmp_path / "made"
    (folder / "code").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 700)
    (folder / "code" / "inference.py").write_text("print(1)\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    with store.run("train", code=False) as run:
        run.put(folder, "churn/model", kind="model", modes=True)
    return store


def test_a_tar_is_the_same_each_time_and_holds_the_files(model: Store, tmp_path: Path) -> None:
    first, second = tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"
    sagemaker.export_tar(model, "churn/model", str(first))
    assert cli(["export", "churn/model", "--as", "sagemaker-tar", "--to", str(second), "--store", model.url]) == 0
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert [one.name for one in archive] == ["code/inference.py", "run.sh", "weights.bin"]
        assert {one.mtime for one in archive} == {0}
        assert [oct(one.mode) for one in archive] == ["0o644", "0o755", "0o644"]
        archive.extractall(tmp_path / "out", filter="data")
    assert (tmp_path / "out" / "weights.bin").read_bytes() == bytes(range(256)) * 700
    done = subprocess.run(["gzip", "-t", str(first)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AlreadyExistsError):
        sagemaker.export_tar(model, "churn/model", str(first))
    assert sorted(one.name for one in tmp_path.glob("*.tar.gz*")) == ["a.tar.gz", "b.tar.gz"]


@pytest.mark.parametrize("size", [0, 1, 65_534, 65_535, 65_536, 131_070, 200_001])
def test_gzip_without_compression_is_read_by_zlib(size: int) -> None:
    from artifactstore.integrations.sagemaker.exports import _gzip

    data = os.urandom(size)
    blocks = [data[at : at + 70_000] for at in range(0, size, 70_000)]
    assert gzip.decompress(b"".join(_gzip(iter(blocks)))) == data


def test_a_tree_in_a_bucket_is_what_the_service_takes(model: Store, s3_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    import boto3

    to = f"{s3_url}/deploy/churn/"
    assert cli(["export", "churn/model", "--as", "sagemaker", "--to", to, "--store", model.url]) == 0
    made = json.loads(capsys.readouterr().out)
    source = made["ModelDataSource"]["S3DataSource"]
    assert source == {"S3Uri": to, "S3DataType": "S3Prefix", "CompressionType": "None"}
    bucket, _, prefix = to.removeprefix("s3://").partition("/")
    client = boto3.client("s3", region_name="us-east-1")
    listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert sorted(one["Key"].removeprefix(prefix) for one in listed) == ["code/inference.py", "run.sh", "weights.bin"]
    body = client.get_object(Bucket=bucket, Key=f"{prefix}weights.bin")["Body"].read()
    assert body == bytes(range(256)) * 700
    assert sagemaker.export(model, "churn/model", to) == made, "again: the same"
    client.put_object(Bucket=bucket, Key=f"{prefix}other.txt", Body=b"x")
    with pytest.raises(AlreadyExistsError, match=r"other\.txt"):
        sagemaker.export(model, "churn/model", to)


def test_links_and_other_places_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_text("a")
    (tmp_path / "f" / "b").symlink_to("a")
    store.put(tmp_path / "f", "linked")
    with pytest.raises(InvalidInputError, match="sagemaker-tar"):
        sagemaker.export(store, "linked", "s3://bucket/prefix/")
    for to in ("s3://bucket", "s3://bucket/", "/tmp/x", "gs://b/p"):
        with pytest.raises(InvalidInputError, match="s3://bucket/prefix/"):
            sagemaker.export(store, "linked", to)
    sagemaker.export_tar(store, "linked", str(tmp_path / "l.tar.gz"))
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "l.tar.gz").read_bytes())) as archive:
        assert archive.getmember("b").linkname == "a"


# -- requests


def check(operation: str, request: dict[str, Any]) -> None:
    """Check a request by the service's own model."""
    import botocore.session
    from botocore.validate import ParamValidator

    service = botocore.session.get_session().get_service_model("sagemaker")
    report = ParamValidator().validate(request, service.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


def test_requests_pass_the_model_of_the_service(model: Store) -> None:
    data = {"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/p/", "S3DataType": "S3Prefix", "CompressionType": "None"}}}
    request = sagemaker.model_package(model, "churn/model", group="churn", image="123.dkr.ecr/x:1", source=data)
    check("CreateModelPackage", request)
    artifact = model.artifact("churn/model")
    assert request["CustomerMetadataProperties"]["artifactstore.digest"] == artifact.digest
    assert request["MetadataProperties"]["GeneratedBy"] == f"artifactstore run {artifact.run}"
    check("CreateModelPackage", sagemaker.model_package(model, "churn/model", group="g", image="i", source="s3://b/model.tar.gz"))
    made = sagemaker.lineage(model, "churn/model")
    for one in made:
        check(one["operation"], one["request"])
    names = {one["request"].get("ArtifactName") or one["request"].get("ContextName") for one in made} - {None}
    ends = {
        end
        for one in made
        if one["operation"] == "AddAssociation"
        for end in (one["request"]["SourceArn"], one["request"]["DestinationArn"])
    }
    assert {one.removeprefix("ref:") for one in ends} <= names
    assert [one["operation"] for one in made].count("CreateContext") == 1
    assert "Produced" in {one["request"].get("AssociationType") for one in made}


def test_a_model_package_is_taken_by_the_service(model: Store, s3_url: str) -> None:
    import boto3

    del s3_url  # the environment leads to the server
    client = boto3.client("sagemaker", region_name="us-east-1", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.create_model_package_group(ModelPackageGroupName="churn")
    request = sagemaker.model_package(model, "churn/model", group="churn", image="i:1", source="s3://bucket/model.tar.gz")
    made = client.create_model_package(**request)
    shown = client.describe_model_package(ModelPackageName=made["ModelPackageArn"])
    assert shown["CustomerMetadataProperties"]["artifactstore.ref"] == "churn/model:v1"
    assert shown["ModelApprovalStatus"] == "PendingManualApproval"
