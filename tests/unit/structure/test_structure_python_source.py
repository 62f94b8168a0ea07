"""What one Python file says."""

import warnings

import pytest

from geoosd.structure.facts import GUARDED, PLAIN, TYPING, Import, line_count
from geoosd.structure.python_source import read


def imports(text):
    return read(text.encode()).imports


def test_import_statements():
    assert imports("import a, b.c as d\nfrom . import e\nfrom ..f.g import h, i as j\n") == [
        Import(1, None, 0, ["a", "b.c"], PLAIN),
        Import(2, "", 1, ["e"], PLAIN),
        Import(3, "f.g", 2, ["h", "i"], PLAIN),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import a",
        "async def f():\n    class C:\n        import a",
        "for x in y:\n    pass\nelse:\n    import a",
        "try:\n    pass\nexcept KeyError:\n    pass\nfinally:\n    import a",
        "try:\n    pass\nexcept ImportError:\n    import a",
        "try:\n    import a\nexcept KeyError:\n    pass",
        "match x:\n    case 1:\n        import a",
        "with open(x):\n    import a",
        "with suppress:\n    import a",
        "with suppress(KeyError):\n    import a",
        "if DEBUG:\n    import a",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import a",
    ],
)
def test_an_import_anywhere_is_one(text):
    assert [each.kind for each in imports(text)] == [PLAIN]


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import a\nexcept ImportError:\n    a = None",
        "try:\n    import a\nexcept (KeyError, builtins.ModuleNotFoundError):\n    pass",
        "try:\n    import a\nexcept:\n    pass",
        "try:\n    import a\nexcept* Exception:\n    pass",
        "with contextlib.suppress(ImportError):\n    import a",
    ],
)
def test_an_import_that_may_fail(text):
    assert [each.kind for each in imports(text)] == [GUARDED]


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_an_import_for_types_alone(test):
    assert [each.kind for each in imports(f"if {test}:\n    import a")] == [TYPING]


def test_names_that_others_may_import():
    text = """
import a.b, c as d
from e import f as g
def h(): global made
class I: attribute = 1
j, (k, *l) = m.n = 1, (2, 3)
o: int = 1
for p in q: pass
with r as (s, t), u: pass
async def v():
    async with w as inner: inside = 1
if x:
    y = 1
else:
    z = 2
"""
    found = set(read(text.encode()).defined)
    assert found == {*"adghjkloptsvyz", "I", "made"}


@pytest.mark.parametrize(
    "text", ["from a import *", "globals()['x'] = 1", "def __getattr__(name): ..."]
)
def test_names_that_cannot_be_known(text):
    assert read(text.encode()).dynamic
    assert not read(b"x = 1").dynamic


@pytest.mark.parametrize(
    ("text", "documented"),
    [('"""Says."""', True), ("# says", True), ("", True), ("x = 1", False), ("import a", False)],
)
def test_a_module_says_what_it_is(text, documented):
    assert read(text.encode()).documented is documented


def test_names_against_pep_8():
    text = "class lower: pass\nclass _Fine: pass\ndef Upper(): pass\ndef __fine_2(): pass\n"
    assert read(text.encode()).misnamed == [(1, "lower"), (3, "Upper")]
    assert read(b"class A:\n    def setUp(self): pass").misnamed == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b"x = 1\nimport (\nimport a", 2),
        (b"x = '\0'", 1),
        (b"# coding: nonsense\n", 1),
        (b"x = '\xff'", 1),
        (b"(" * 5000, 1),
        (b"x" + b".x" * 100_000, 1),
    ],
)
def test_what_cannot_be_parsed(source, line):
    facts = read(source)
    assert facts.error
    assert facts.error[0] == line
    assert facts.error[1]
    assert facts.hidden_imports == source.count(b"import")
    assert (facts.documented, facts.imports, facts.defined) == (False, (), ())


def test_a_doubtful_escape_is_nobodys_business():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read(rb"x = '\d'").error is None
    assert caught == []


def test_lines():
    assert [line_count(text) for text in (b"", b"a", b"a\n", b"a\nb")] == [0, 1, 1, 2]
