"""Where GGUF files are kept on this machine: by LM Studio, Ollama, Hugging Face, llama.cpp, geoos.

Only names and sizes are looked at; :mod:`geoosd.gguf.model` opens a file. Directories that are
missing or closed to us hold nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

Keeper = Literal["lmstudio", "ollama", "huggingface", "llama.cpp", "geoos"]

SYSTEM_CACHE: Final = Path("/var/cache/geoos/engine")
"""Where the engine of the systemd units keeps its model; open to root alone."""
_LATER_PART: Final = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
_OLLAMA_MODEL: Final = "application/vnd.ollama.image.model"
_MAX_MANIFEST: Final = 1 << 20


class LocalModel(NamedTuple):
    """A GGUF file: who keeps it, the name by which its keeper knows it, its size in bytes."""

    keeper: Keeper
    name: str
    path: Path
    file_bytes: int


def local_models(environ: Mapping[str, str] | None = None) -> list[LocalModel]:
    """Every model file in the places that the programs use by default or by their environment
    variables, by keeper and name; one file that is reached twice is listed once. Of a split model
    only the first part is listed; projectors (mmproj) are not."""
    env = os.environ if environ is None else environ
    found: dict[Path, LocalModel] = {}
    for keeper, name, path in _candidates(env):
        with contextlib.suppress(OSError):
            real = path.resolve(strict=True)
            if real.is_file() and real not in found:
                found[real] = LocalModel(keeper, name, path, real.stat().st_size)
    return sorted(found.values())


def _candidates(env: Mapping[str, str]) -> Iterator[tuple[Keeper, str, Path]]:
    home = Path(env.get("HOME") or "/")
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    for root in (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"):
        for path in _gguf_files(root):
            yield "lmstudio", str(path.relative_to(root).with_suffix("")), path
    yield from _ollama(Path(env.get("OLLAMA_MODELS") or home / ".ollama" / "models"))
    hub = Path(env.get("HF_HOME") or cache / "huggingface") / "hub"
    hub = Path(env.get("HF_HUB_CACHE") or hub)
    for path in _gguf_files(hub):
        repository = path.relative_to(hub).parts[0].removeprefix("models--").replace("--", "/")
        yield "huggingface", f"{repository}/{path.stem}", path
    for path in _gguf_files(Path(env.get("LLAMA_CACHE") or cache / "llama.cpp")):
        yield "llama.cpp", path.stem, path
    for root in (Path(env.get("GEOOS_CACHE_DIR") or cache / "geoos"), SYSTEM_CACHE):
        for path in _gguf_files(root):
            yield "geoos", path.stem, path


def _gguf_files(root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        for name in names:
            if name.endswith(".gguf") and "mmproj" not in name and not _LATER_PART.search(name):
                yield Path(directory) / name


def _ollama(root: Path) -> Iterator[tuple[Keeper, str, Path]]:
    """Ollama keeps blobs by digest; manifests/HOST/OWNER/MODEL/TAG say which blob is what."""
    manifests = root / "manifests"
    for directory, _, names in os.walk(manifests):
        for name in names:
            path = Path(directory) / name
            for digest in _model_digests(path):
                _host, *model = path.relative_to(manifests).parts[:-1]
                known_as = "/".join(part for part in model if part != "library")
                yield "ollama", f"{known_as}:{name}", root / "blobs" / digest.replace(":", "-", 1)


def _model_digests(manifest: Path) -> list[str]:
    try:
        with manifest.open("rb") as file:
            layers = json.loads(file.read(_MAX_MANIFEST))["layers"]
        return [
            layer["digest"]
            for layer in layers
            if layer["mediaType"] == _OLLAMA_MODEL
            and re.fullmatch(r"sha256:[0-9a-f]{64}", layer["digest"])
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # not a manifest of the kind we know
