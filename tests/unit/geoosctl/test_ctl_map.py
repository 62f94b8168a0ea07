"""``map build`` and ``models --local`` with small files of the specification's own making."""

import base64
import json
import struct
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gguf"))

from gguf_files import STRING, U32, entry, gguf, tensor

ROOT = Path(__file__).resolve().parents[3]
TOKENS, SIZE = 300, 32


def model(path, rows=TOKENS, *, data=None):
    values = np.random.default_rng(5).normal(size=(min(rows, TOKENS), SIZE)).astype("<f4")
    entries = [
        entry("general.architecture", STRING, "toy"),
        entry("general.file_type", U32, 7),
        entry("toy.context_length", U32, 2048),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = values.tobytes() if data is None else data
    path.write_bytes(gguf(entries, [tensor("token_embd.weight", (SIZE, rows))]) + content)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "GEOOS_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("geoosd.gguf.locate.SYSTEM_CACHE", tmp_path / "system")
    return tmp_path / "home"


def test_a_layout_is_built_once_for_a_vocabulary(geoosctl, tmp_path):
    first = json.loads(geoosctl("--json", "map", "build", str(model(tmp_path / "a.gguf"))).stdout)
    assert (first["tokens"], first["built"]) == (TOKENS, True)
    ranks = struct.unpack(f"<{TOKENS}i", Path(first["file"]).read_bytes())
    assert sorted(ranks) == list(range(TOKENS))
    # Another file with the same embeddings is the same vocabulary.
    other = str(model(tmp_path / "b.gguf"))
    again = json.loads(geoosctl("--json", "map", "build", other).stdout)
    assert (again["file"], again["built"]) == (first["file"], False)
    assert "300 tokens, from the cache" in geoosctl("map", "build", other).stdout
    assert "300 tokens, built" in geoosctl("map", "build", other, "--fresh").stdout


def documented(verb, text):
    schema = json.loads((ROOT / "docs/api/geoosctl.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(text), {**schema, "$ref": f"#/$defs/verb:%20{verb}"})
    return True


def test_json_is_as_documented(geoosctl, home):
    path = str(model(home / ".lmstudio/models/maker/toy/toy-q8.gguf"))
    assert documented("map%20build", geoosctl("--json", "map", "build", path).stdout)
    assert documented("models", geoosctl("--json", "models", "--local").stdout)


def test_where_it_goes(geoosctl, tmp_path):
    out = tmp_path / "layout.i32"
    result = geoosctl("map", "build", str(model(tmp_path / "a.gguf")), "--out", str(out))
    assert result.exit_code == 0
    assert out.stat().st_size == 4 * TOKENS


def test_a_cache_that_was_cut_off_is_not_believed(geoosctl, tmp_path):
    path = str(model(tmp_path / "a.gguf"))
    kept = Path(json.loads(geoosctl("--json", "map", "build", path).stdout)["file"])
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    assert json.loads(geoosctl("--json", "map", "build", path).stdout)["built"] is True
    assert kept.read_bytes() == whole


def test_models_by_name(geoosctl, home):
    result = geoosctl("map", "build")
    assert (result.exit_code, "name a GGUF file" in result.stderr) == (64, True)
    model(home / ".lmstudio/models/maker/toy/toy-q8.gguf")
    assert geoosctl("map", "build").exit_code == 0
    assert geoosctl("map", "build", "maker/toy/toy-q8").exit_code == 0
    model(home / ".lmstudio/models/maker/toy/toy-q4.gguf")
    result = geoosctl("map", "build")
    assert result.exit_code == 64
    assert "name one of 2 models: maker/toy/toy-q4, maker/toy/toy-q8" in result.stderr
    assert "'tay': no file, and no name" in geoosctl("map", "build", "tay").stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGML", "not a GGUF file"),
        (gguf([], []), "it has no tensor token_embd.weight"),
        (gguf([], [tensor("token_embd.weight", (SIZE, TOKENS), 20)]), "is of ggml type 20"),
    ],
)
def test_what_cannot_be_laid_out(geoosctl, tmp_path, content, said):
    (tmp_path / "x.gguf").write_bytes(content)
    result = geoosctl("map", "build", str(tmp_path / "x.gguf"))
    assert (result.exit_code, result.stdout) == (70, "")
    assert result.stderr.startswith("geoosctl: cannot read ")
    assert said in result.stderr


def test_more_ids_than_a_district_has_cells(geoosctl, tmp_path):
    path = model(tmp_path / "big.gguf", (1 << 20) + 1)
    with path.open("r+b") as file:
        file.truncate(((1 << 20) + 99) * SIZE * 4)  # a hole
    result = geoosctl("map", "build", str(path))
    assert result.exit_code == 70
    assert "1048577 tokens, a district has 1048576 cells" in result.stderr


def test_where_nothing_can_be_written(geoosctl, tmp_path):
    path = str(model(tmp_path / "a.gguf"))
    result = geoosctl("map", "build", path, "--out", "/nonexistent/x.i32")
    assert result.exit_code == 70
    assert "cannot use /nonexistent/x.i32: no such file" in result.stderr


# -- adopt -----------------------------------------------------------------------------------------

ADOPT = "io.geoos.Control.AdoptLayout"


def sent(control):
    """The parts that came, and what they make together."""
    asked = [call["parameters"] for call in control.calls]
    return asked, b"".join(base64.b64decode(each["places"]) for each in asked)


def test_a_layout_is_sent_in_parts(geoosctl, control, tmp_path, monkeypatch):
    monkeypatch.setattr("geoosctl.commands.map._PART", 128)
    control.answers[ADOPT] = {"layout": 77, "changed": True}
    path = tmp_path / "layout.i32"
    path.write_bytes(np.arange(300, dtype="<i4").tobytes())
    result = geoosctl("map", "adopt", "m", str(path))
    assert result.stdout == f"m: tokens lie as {path} says, from now on\n"
    asked, whole = sent(control)
    assert [(each["first"], each["tokens"]) for each in asked] == [(0, 300), (128, 300), (256, 300)]
    assert whole == path.read_bytes()


def test_a_layout_is_built_for_a_model_of_this_name(geoosctl, control, home):
    control.answers[ADOPT] = {"layout": 77, "changed": False}
    model(home / ".lmstudio/models/maker/toy/toy-q8.gguf")
    result = geoosctl("--json", "map", "adopt", "maker/toy/toy-q8")
    assert documented("map%20adopt", result.stdout)
    told = json.loads(result.stdout)
    assert (told["tokens"], told["layout"], told["changed"]) == (TOKENS, 77, False)
    _, whole = sent(control)
    assert sorted(struct.unpack(f"<{TOKENS}i", whole)) == list(range(TOKENS))


def test_a_served_name_is_the_beginning_of_a_files(geoosctl, control, home, tmp_path):
    control.answers[ADOPT] = {"layout": 77, "changed": True}
    path = model(tmp_path / "cache/geoos/toy-q8.gguf")
    told = f"Toy: tokens lie as {path} says, from now on\n"
    assert geoosctl("map", "adopt", "Toy").stdout == told
    model(home / ".lmstudio/models/maker/toy/toy-q4.gguf")
    result = geoosctl("map", "adopt", "toy")
    assert result.exit_code == 64
    assert "name one of 2 models: toy-q8, maker/toy/toy-q4" in result.stderr


def test_a_layout_is_given_up(geoosctl, control):
    control.answers[ADOPT] = {"layout": 0, "changed": True}
    assert geoosctl("map", "adopt", "m", "--by-id").stdout == (
        "m: tokens lie by their ids, from now on\n"
    )
    asked, _ = sent(control)
    assert asked == [{"model": "m", "tokens": 0, "first": 0, "places": ""}]


def test_what_cannot_be_adopted(geoosctl, control, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    result = geoosctl("map", "adopt", "m", str(path))
    assert (result.exit_code, "it is no layout" in result.stderr) == (70, True)
    result = geoosctl("map", "adopt", "m", str(tmp_path / "none"))
    assert (result.exit_code, "no such file" in result.stderr) == (70, True)
    assert geoosctl("map", "adopt", "m", str(path), "--by-id").exit_code == 64
    assert geoosctl("map", "adopt", "m").exit_code == 64
    assert control.calls == []


# -- models --local --------------------------------------------------------------------------------


def test_local_files_are_listed_the_broken_ones_with_their_reason(geoosctl, home):
    assert "no GGUF file where" in geoosctl("models", "--local").stdout
    model(home / ".lmstudio/models/maker/toy/toy-q8.gguf")
    (home / ".lmstudio/models/maker/toy/broken.gguf").write_bytes(b"GGUF")
    told = json.loads(geoosctl("--json", "models", "--local").stdout)["files"]
    by_name = {each["name"]: each for each in told}
    assert by_name["maker/toy/toy-q8"]["architecture"] == "toy"
    assert by_name["maker/toy/toy-q8"]["context_length"] == 2048
    assert by_name["maker/toy/toy-q8"]["error"] is None
    assert by_name["maker/toy/broken"]["error"].startswith("cannot read ")
    shown = geoosctl("models", "--local").stdout
    assert "Q8_0" in shown
    assert "cannot read" in shown
    assert [line for line in shown.splitlines() if len(line) > 80 and "cannot" not in line] == []
