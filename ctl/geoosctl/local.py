"""The model files that are kept on this machine, as ``models --local`` shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from geoosctl import output
from geoosd.errors import reason_of
from geoosd.gguf.locate import local_models
from geoosd.gguf.model import read_model


class LocalFile(Struct):
    """A GGUF file; ``error`` says why it cannot be used, and then the rest of it is unknown."""

    keeper: str
    name: str
    path: str
    bytes: int
    architecture: str | None = None
    quantisation: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    vocabulary_size: int | None = None
    chat: bool | None = None
    error: str | None = None


def found() -> list[LocalFile]:
    """Every file, each opened for what it says of itself."""
    return list(_found())


def _found() -> Iterator[LocalFile]:
    for each in local_models():
        entry = LocalFile(each.keeper, each.name, str(each.path), each.file_bytes)
        try:
            model = read_model(each.path)
        except ValueError as error:
            entry.error = str(error)
        except OSError as error:
            entry.error = f"cannot read {each.path}: {reason_of(error)}"
        else:
            entry.architecture = model.architecture
            entry.quantisation = model.quantisation
            entry.context_length = model.context_length
            entry.embedding_length = model.embedding_length
            entry.vocabulary_size = model.vocabulary_size
            entry.chat = model.has_chat_template
        yield entry


def lines(files: Sequence[LocalFile]) -> Iterator[str]:
    """A table, and under a file that cannot be used why."""
    rows = [
        [
            each.keeper,
            output.visible(each.name),
            output.size(each.bytes),
            output.visible(each.quantisation or "–"),
            output.visible(each.architecture or "–"),
        ]
        for each in files
    ]
    titles = ["KEPT BY", "NAME", "SIZE", "TYPE", "KIND"]
    head, *rest = output.table_within(titles, rows, ["NAME"], align="<<><<")
    yield head
    for each, line in zip(files, rest, strict=True):
        yield line
        if each.error:
            yield from output.wrapped(each.error, 2)
