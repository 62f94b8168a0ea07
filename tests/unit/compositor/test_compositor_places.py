"""Districts and cells."""

import struct
from hashlib import blake2b

import pytest

from geoosd.compositor.core import places
from geoosd.compositor.core.layouts import Layout
from geoosd.compositor.core.places import Places
from geoosd.errors import MessageError
from geoosd.wire.messages import District, TokenVisualizationUpdate


def placed(where, text="a", **fields):
    token = TokenVisualizationUpdate(text, 0, **fields)
    where.place(token)
    return token


def test_an_id_is_its_cell():
    where = Places()
    token = placed(where, model="m", token_id=5, provenance={"token_id": "measured"})
    assert (token.district, token.cell) == (1, 5)
    assert token.hilbert_position == places.position_of(5)
    assert token.provenance == {"token_id": "measured", "hilbert_position": "derived"}
    assert where.district(1) == District(1, "m", "ids")


def test_text_without_id_is_hashed_into_a_district_of_its_own():
    where = Places()
    placed(where, model="m", token_id=1)
    token = placed(where, "wörd", model="m")
    expected = int.from_bytes(blake2b("wörd".encode(), digest_size=4).digest(), "little") % 2**20
    assert (token.district, token.cell) == (2, expected)
    assert token.provenance == {"hilbert_position": "assumed"}
    assert where.district(2).id_space == "text"


def test_the_hash_is_for_ever():
    assert places.hashed_cell(" the") == 577297  # b2sum -l 32


def test_great_ids_are_hashed_by_their_digits():
    token = placed(Places(), model="m", token_id=1 << 20)
    assert token.cell == places.hashed_cell("1048576")
    assert token.provenance == {"hilbert_position": "assumed"}
    assert placed(Places(), model="m", token_id=(1 << 20) - 1).cell == (1 << 20) - 1


def test_old_producers_keep_their_position_in_district_0():
    where = Places()
    token = placed(where, hilbert_position=(0.1234, 1.0))
    assert (token.district, token.hilbert_position) == (0, (0.1234, 1.0))
    x, y = places.position_of(token.cell)
    assert abs(x - 0.1234) < 1 / 1024
    assert y == 1 - 0.5 / 1024
    assert placed(where, token_id=9).district == 0
    assert placed(where, "text").district == 0
    assert placed(where, model="m", token_id=1).district == 1


def test_the_position_a_modern_producer_sends_is_ours_to_give():
    token = placed(Places(), model="m", token_id=0, hilbert_position=(0.9, 0.9))
    assert token.hilbert_position == (0.5 / 1024, 0.5 / 1024)


def test_districts_are_given_once_and_kept():
    where = Places()
    for model in ("b", "a", "b", "c"):
        placed(where, model=model, token_id=1)
    assert where.revision == 3
    assert [district.model for district in where.districts] == ["b", "a", "c"]
    again = Places(where.districts)
    assert again.revision == 0
    assert placed(again, model="c", token_id=1).district == 3
    assert placed(again, model="d", token_id=1).district == 4
    assert (again.revision, len(again)) == (1, 4)


@pytest.mark.parametrize(
    "districts",
    [
        [District(1, "a", "ids"), District(1, "b", "ids")],
        [District(1, "a", "ids"), District(2, "a", "ids")],
        [District(0, "a", "ids")],
        [District(3, None, "given")],
    ],
)
def test_districts_that_contradict_each_other_are_refused(districts):
    with pytest.raises(ValueError, match="district"):
        Places(districts)


def test_there_is_an_end_to_models(monkeypatch):
    monkeypatch.setattr(places, "MAX_DISTRICTS", 1)
    where = Places()
    placed(where, model="a", token_id=1)
    with pytest.raises(MessageError, match="1 models") as refused:
        placed(where, model="b", token_id=1)
    assert refused.value.field == "payload.model"
    assert placed(where, model="a", token_id=2).district == 1


def test_districts_lie_on_the_outer_curve():
    assert [places.origin_of(index) for index in range(5)] == [
        (0, 0),
        (1024, 0),
        (1024, 1024),
        (0, 1024),
        (0, 2048),
    ]
    assert places.origin_of(16) == (4 * 1024, 0)


# -- layouts ---------------------------------------------------------------------------------------

SWAPPED = Layout(struct.pack("<3i", 2, 0, 1))


def test_a_layout_is_taken_when_a_district_is_made():
    where = Places()
    assert where.adopt("m", SWAPPED)
    token = placed(where, model="m", token_id=0)
    assert (token.district, token.cell) == (1, 2)
    assert token.provenance == {"hilbert_position": "derived"}
    assert where.district(1) == District(1, "m", "ids", SWAPPED.version)
    assert placed(where, model="m", token_id=3).cell == 3, "beyond the layout: by id"
    assert placed(where, model="m", token_id=1 << 20).provenance["hilbert_position"] == "assumed"
    assert placed(where, model="other", token_id=0).cell == 0
    assert where.district(placed(where, model="m").district).id_space == "text"
    assert placed(where, token_id=0).district == 0


def test_a_later_layout_makes_another_district_and_the_old_one_stays():
    where = Places()
    assert placed(where, model="m", token_id=0).district == 1
    revision = where.revision
    assert where.adopt("m", SWAPPED)
    assert where.revision > revision
    assert not where.adopt("m", Layout(SWAPPED.data)), "the same again is nothing new"
    assert placed(where, model="m", token_id=0).district == 2
    assert where.adopt("m", None)
    assert not where.adopt("m", None)
    token = placed(where, model="m", token_id=0)
    assert (token.district, token.cell) == (1, 0), "back where it lay"


def test_places_with_layouts_come_back():
    where = Places()
    where.adopt("m", SWAPPED)
    before = placed(where, model="m", token_id=1)
    again = Places(where.districts, where.layouts)
    after = placed(again, model="m", token_id=1)
    assert (after.district, after.cell) == (before.district, before.cell)
    assert len(again) == 1


def test_layouts_are_bounded(monkeypatch):
    monkeypatch.setattr(places, "MAX_LAYOUTS", 1)
    where = Places()
    where.adopt("m", SWAPPED)
    with pytest.raises(ValueError, match="1 models have a layout already"):
        where.adopt("n", SWAPPED)
    assert where.adopt("m", Layout(struct.pack("<i", 0))), "another for the same one is no more"
