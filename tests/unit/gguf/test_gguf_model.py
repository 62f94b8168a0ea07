import pytest
from gguf_files import STRING, U32, entry, gguf, small_model, tensor

from geoosd.gguf.model import read_model


@pytest.fixture
def model(tmp_path):
    def of(content):
        path = tmp_path / "some-model.gguf"
        path.write_bytes(content)
        return read_model(path)

    return of


def test_what_the_metadata_says(model):
    toy = model(small_model())
    assert (toy.name, toy.architecture, toy.quantisation) == ("Toy 1", "toy", "Q4_K_M")
    assert (toy.context_length, toy.embedding_length, toy.vocabulary_size) == (2048, 4, 3)
    assert not toy.has_chat_template
    assert model(small_model(chat_template="{{ messages }}")).has_chat_template


def test_what_it_does_not_say(model):
    entries = [
        entry("general.architecture", STRING, "toy"),
        entry("toy.context_length", STRING, "long"),
        entry("toy.vocab_size", U32, 9),
    ]
    toy = model(gguf(entries, [tensor("t", (1,))], data=32))
    assert toy.name == "some-model"
    assert (toy.context_length, toy.embedding_length, toy.quantisation) == (None, None, None)
    assert toy.vocabulary_size == 9


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"junk", "not a GGUF file"),
        (small_model(data=10), r"truncated: it has \d+ bytes and needs \d+; fetch it again"),
        (gguf([entry("general.architecture", STRING, "toy")]), "without a model"),
        (gguf([], [tensor("t", (1,))], data=32), "without a model"),
    ],
)
def test_what_is_not_usable(model, content, said):
    with pytest.raises(ValueError, match=f"^cannot read .*some-model.gguf: .*{said}"):
        model(content)
