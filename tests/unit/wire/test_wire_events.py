"""geoosd.wire.events: ids that never change, and the catalog that ships."""

import re
from pathlib import Path

from geoosd.wire import events

SHIPPED = Path(__file__).parents[3] / "units" / "catalog" / "geoos.catalog"


def test_every_event_has_an_id_of_its_own():
    ids = [event.message_id for event in events.EVENTS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert events.READY.fields == {"message_id": "7ff8049ef66d4bea99a6c0166b614046"}


def test_the_shipped_catalog_is_the_generated_one():
    assert SHIPPED.read_text(encoding="utf-8") == events.catalog()


def test_an_entry_has_what_the_catalog_s_format_wants():
    for event in events.EVENTS:
        entry = events.catalog().partition(f"-- {event.message_id}\n")[2].partition("\n-- ")[0]
        head, _, body = entry.partition("\n\n")
        assert head.splitlines()[0] == f"Subject: {event.subject}"
        assert "Defined-By: geoos" in head
        assert event.remedy in body
