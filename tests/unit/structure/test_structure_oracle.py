"""Our import graph of our own tree beside grimp's, which import-linter uses."""

from pathlib import Path

import pytest

from geoosd.structure import python_imports, python_source
from geoosd.structure.layout import scan

ROOT = Path(__file__).parents[3]


def test_the_same_graph_as_grimp():
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph(
        "geoosd", "geoosctl", exclude_type_checking_imports=True, cache_dir=None
    )
    expected = {
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    layout = scan(ROOT)
    files = [file for file in layout.files if not file.is_test]
    facts = [python_source.read((ROOT / file.path).read_bytes()) for file in files]
    links = python_imports.resolve(layout, files, facts)
    found = {
        (links.names[each.source], links.names[target])
        for each in links.statements
        for target in each.targets
    }
    assert set(links.names.values()) == graph.modules
    assert found == expected
    assert len(found) > 200
