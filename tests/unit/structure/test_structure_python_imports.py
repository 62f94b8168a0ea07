"""What Python imports mean in their tree."""

import pytest
import trees

from geoosd.structure import python_imports, python_source
from geoosd.structure.layout import scan


@pytest.fixture
def links_of(tmp_path):
    def links(files, inside=""):
        layout = scan(trees.write(tmp_path, files) / inside)
        sources = [file for file in layout.files if not file.is_test]
        facts = [python_source.read((layout.tree / file.path).read_bytes()) for file in sources]
        return python_imports.resolve(layout, sources, facts)

    return links


def seen(links):
    """importing module, what it depends on, what is missing."""
    return [
        (links.names[each.source], [links.names[target] for target in each.targets], each.missing)
        for each in links.statements
    ]


BASE = {
    "p/__init__.py": "from .a import one",
    "p/a.py": "one = 1",
    "p/b/__init__.py": "",
    "p/b/c.py": "",
    "q/x.py": "",
    "q/deep/y.py": "",
    "other.py": "",
}


@pytest.mark.parametrize(
    ("statement", "targets"),
    [
        ("import p", ["p"]),
        ("import p.a", ["p.a"]),
        ("import p.a, p.b.c, os", ["p.a", "p.b.c"]),
        ("from p import a", ["p.a"]),
        ("from p import one", ["p"]),
        ("from p import a, one", ["p", "p.a"]),
        ("from p.a import one", ["p.a"]),
        ("from p.a import __name__", ["p.a"]),
        ("from p import *", ["p"]),
        ("from p.b import c", ["p.b.c"]),
        ("import q", []),
        ("from q import x", ["q.x"]),
        ("from q import deep", []),
        ("from q import *", []),
        ("import q.deep.y", ["q.deep.y"]),
        ("import p.__init__", ["p"]),
    ],
)
def test_absolute_imports(links_of, statement, targets):
    links = links_of({**BASE, "other.py": statement})
    assert ("other", sorted(targets), None) in [
        (name, sorted(found), missing) for name, found, missing in seen(links)
    ]


@pytest.mark.parametrize(
    ("statement", "targets"),
    [
        ("from . import c", ["p.b.c"]),
        ("from .. import a", ["p.a"]),
        ("from ..a import one", ["p.a"]),
        ("from ..b.c import x", ["p.b.c"]),
    ],
)
def test_relative_imports(links_of, statement, targets):
    links = links_of({**BASE, "p/b/c.py": f"x = 1\n{statement}"})
    assert [each[1] for each in seen(links) if each[0] == "p.b.c"] == [targets]


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("import p.gone", "p.gone"),
        ("import q.gone", "q.gone"),
        ("from p import gone", "p.gone"),
        ("from p.a import one, gone", "p.a.gone"),
        ("from p.gone import x", "p.gone"),
        ("from p.b import p", "p.b.p"),
        ("from q import gone", "q.gone"),
        ("from q.gone import x", "q.gone"),
        ("from . import x", "a package above the top"),
        ("import p.bad", "p.bad, which cannot be parsed"),
        ("from p import bad", "p.bad, which cannot be parsed"),
        ("from p.bad import x", "p.bad, which cannot be parsed"),
    ],
)
def test_what_does_not_resolve(links_of, statement, missing):
    links = links_of({**BASE, "p/bad.py": "(", "other.py": statement})
    assert [each[2] for each in seen(links) if each[0] == "other"] == [missing]


def test_a_broken_import_still_depends_on_what_is_there(links_of):
    links = links_of({**BASE, "other.py": "from p.a import gone"})
    assert ("other", ["p.a"], "p.a.gone") in seen(links)


def test_others_are_external(links_of):
    links = links_of({**BASE, "other.py": "import os.path, p\nfrom trio import run\n"})
    other = next(index for index, name in links.names.items() if name == "other")
    assert links.external == [(other, 1, "os.path"), (other, 2, "trio")]
    assert ("other", ["p"], None) in seen(links)


def test_type_checking_is_apart(links_of):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a\n    import trio"
    links = links_of({**BASE, "other.py": text})
    assert [each.line for each in links.typing] == [3]
    assert [name for _, _, name in links.external_typing] == ["trio"]
    assert "other" not in [each[0] for each in seen(links)]


def test_an_import_that_may_fail(links_of):
    text = "try:\n    import {}\nexcept ImportError:\n    pass"
    links = links_of({**BASE, "other.py": text.format("p.gone")})
    assert (links.guarded, len(links.statements)) == (1, 1)
    links = links_of({**BASE, "other.py": text.format("p.a")})
    assert (links.guarded, len(links.statements)) == (0, 2)


def test_names_that_a_module_makes_as_it_runs(links_of):
    files = {"p/__init__.py": "", "p/m.py": "import sys\nsys.modules[f'{__name__}.made'] = sys"}
    links = links_of({**files, "other.py": "import p.m.made\nfrom p.m import anything\n"})
    assert [each[1:] for each in seen(links)] == [(["p.m"], None)] * 2


@pytest.mark.parametrize("name", ["fast.cpython-311-x86_64-linux-gnu.so", "fast.pyx", "fast.pyi"])
def test_compiled_modules_are_there(links_of, name):
    links = links_of({**BASE, f"p/{name}": "", "other.py": "import p.fast\nfrom p import fast\n"})
    assert [each[1:] for each in seen(links) if each[0] == "other"] == [([], None), (["p"], None)]


def test_tests_are_there_and_no_module_of_the_graph(links_of):
    links = links_of({**BASE, "p/tests/__init__.py": "", "other.py": "from p.tests import gone"})
    assert ("other", [], None) in seen(links)


def test_scripts_see_their_neighbours(links_of):
    links = links_of({"one.py": "", "s/run.py": "import near, far", "s/near.py": ""})
    assert seen(links) == [("s.run", ["s.near"], None)]
    assert [name for _, _, name in links.external] == ["far"]


def test_a_package_wins_over_a_module_of_its_name(links_of):
    links = links_of({"m.py": "", "m/__init__.py": "x = 1", "z.py": "from m import x"})
    assert seen(links) == [("z", ["m"], None)]


def test_a_package_alone_knows_what_is_outside(links_of):
    files = {
        "outer/__init__.py": "",
        "outer/inner/__init__.py": "import outer.inner.x\nfrom outer import y",
        "outer/inner/x.py": "from .. import z\nfrom ... import w",
    }
    links = links_of(files, "outer/inner")
    assert seen(links) == [
        ("outer.inner", ["outer.inner.x"], None),
        ("outer.inner.x", [], "a package above the top"),
    ]
    assert [name for _, _, name in links.external] == ["outer", "outer"]


def test_rust_has_no_part_in_it(links_of):
    assert links_of({"a.py": "", "b/c.rs": "use x;"}).names == {0: "a"}
