"""transformers takes what was exported, without a network: a tiny model and its tokenizer. `.ci/run` has an environment with it."""

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.integrations.hf import export, import_from

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed here", allow_module_level=True)
os.environ["HF_HUB_OFFLINE"] = "1"  # read while it is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers: Any = pytest.importorskip("transformers")
    torch: Any = pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]


def test_from_pretrained_takes_what_was_exported_and_what_was_imported_again(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt"))
    shape = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 16,
    }
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **shape)).eval()
    tokenizer.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(tmp_path / "model", "team/tiny", kind="model")
    export(store, "team/tiny", tmp_path / "out", repo="team/tiny")
    import_from(store, "team/tiny", name="again", cache=str(tmp_path / "out"))
    assert store.artifact("again").digest == store.artifact("team/tiny").digest
    export(store, "again", tmp_path / "second")
    with torch.no_grad():
        expected = model(**tokenizer("hello world", return_tensors="pt")).last_hidden_state
        for cache in ("out", "second"):
            words = transformers.AutoTokenizer.from_pretrained("team/tiny", cache_dir=tmp_path / cache)
            found = transformers.AutoModel.from_pretrained("team/tiny", cache_dir=tmp_path / cache).eval()
            assert torch.equal(found(**words("hello world", return_tensors="pt")).last_hidden_state, expected)
