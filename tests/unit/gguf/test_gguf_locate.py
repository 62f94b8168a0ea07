import json

import pytest

from geoosd.gguf.locate import local_models


@pytest.fixture
def put(tmp_path):
    def file(name, content=b"GGUF"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return file


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch):
    monkeypatch.setattr("geoosd.gguf.locate.SYSTEM_CACHE", tmp_path / "system")


@pytest.fixture
def found(tmp_path):
    def of(**environ):
        return [
            (model.keeper, model.name) for model in local_models({"HOME": str(tmp_path), **environ})
        ]

    return of


def manifest(digest, kind="application/vnd.ollama.image.model"):
    return json.dumps({"layers": [{"mediaType": kind, "digest": digest}]}).encode()


def test_nothing_there(found):
    assert found() == []


def test_each_keeper(put, found, tmp_path):
    put(".lmstudio/models/maker/repo/a.gguf", b"GGUF12")
    put(".cache/lm-studio/models/maker/repo/old.gguf")
    put(".cache/huggingface/hub/models--maker--repo/snapshots/abc/b.gguf")
    put(".cache/llama.cpp/c.gguf")
    put(".cache/geoos/own.gguf")
    put("system/shipped.gguf")
    put(".ollama/models/manifests/registry.ollama.ai/library/gemma3/270m",
        manifest("sha256:" + "0" * 64))  # fmt: skip
    put(".ollama/models/blobs/sha256-" + "0" * 64)
    assert found() == [
        ("geoos", "own"),
        ("geoos", "shipped"),
        ("huggingface", "maker/repo/b"),
        ("llama.cpp", "c"),
        ("lmstudio", "maker/repo/a"),
        ("lmstudio", "maker/repo/old"),
        ("ollama", "gemma3:270m"),
    ]
    sizes = {model.name: model.file_bytes for model in local_models({"HOME": str(tmp_path)})}
    assert sizes["maker/repo/a"] == 6


def test_environment_variables_move_them(put, found, tmp_path):
    put("x/llama/c.gguf")
    put("x/hub/models--m--r/snapshots/1/b.gguf")
    put("x/home/hub/models--m--s/snapshots/1/b.gguf")
    put("x/cache/llama.cpp/d.gguf")
    assert found(LLAMA_CACHE=str(tmp_path / "x/llama")) == [("llama.cpp", "c")]
    assert found(HF_HUB_CACHE=str(tmp_path / "x/hub")) == [("huggingface", "m/r/b")]
    assert found(HF_HOME=str(tmp_path / "x/home")) == [("huggingface", "m/s/b")]
    put("x/own/e.gguf")
    assert found(GEOOS_CACHE_DIR=str(tmp_path / "x/own")) == [("geoos", "e")]
    assert found(XDG_CACHE_HOME=str(tmp_path / "x/cache")) == [("llama.cpp", "d")]


def test_only_models_and_each_once(put, found, tmp_path):
    first = put(".cache/llama.cpp/big-00001-of-00002.gguf")
    put(".cache/llama.cpp/big-00002-of-00002.gguf")
    put(".cache/llama.cpp/mmproj-big.gguf")
    put(".cache/llama.cpp/readme.txt")
    first.with_name("same.gguf").symlink_to(first)
    first.with_name("gone.gguf").symlink_to(tmp_path / "nowhere")
    assert len(found()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"layers": 1}',
        b'{"layers": [1]}',
        b"[" * 200_000,
        manifest("sha256:../../etc/passwd"),
        manifest("sha256:" + "0" * 64),  # a blob that is not there
        manifest("sha256:" + "1" * 64, kind="application/vnd.ollama.image.license"),
    ],
)
def test_odd_manifests_hold_nothing(put, found, content):
    put(".ollama/models/manifests/host/owner/model/tag", content)
    put(".ollama/models/blobs/sha256-" + "1" * 64)
    assert found() == []
