"""What one Rust file says."""

import pytest

from geoosd.structure.facts import MOD
from geoosd.structure.rust_source import read

pytest.importorskip("tree_sitter_rust", reason="pip install 'geoos[structure]'")


def paths(text):
    return [name for each in read(text.encode()).imports for name in each.names]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("use std::io;", ["std::io"]),
        ("pub(crate) use a::b as c;", ["a::b"]),
        ("use crate::a::{self, b as c, d::*, e::{f, /* here */ g}};",
         ["crate::a", "crate::a::b", "crate::a::d", "crate::a::e::f", "crate::a::e::g"]),
        ("use {super::x, self::y};", ["super::x", "self::y"]),
        ("use super::super::x;", ["super::super::x"]),
        ("use super::*;", ["super"]),
        ("use ::a::{b};", ["::a::b"]),
        ("use ::{a};", ["a"]),
        ("fn f() { use crate::late; }", ["crate::late"]),
        ("mod m { use super::x; }", ["self::x"]),
        ("mod m { mod n { use super::x; use self::y; use crate::z; } }",
         ["self::m::x", "self::m::n::y", "crate::z"]),
        ("mod m { use super::super::x; }", ["super::x"]),
        ("extern crate a as b;", ["a"]),
    ],
)  # fmt: skip
def test_use(text, found):
    assert paths(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "#[cfg(test)]\nmod tests { use super::*; }",
        "#[cfg(all(test, unix))]\n// why\n#[allow(dead_code)]\nmod m { mod n { use super::x; } }",
        "#[test]\nfn f() { use crate::x; }",
        "#[tokio::test]\nasync fn f() { use crate::x; }",
        "#[cfg(test)]\nmod tests;",
        "#[cfg(test)]\nextern crate a;",
    ],
)
def test_tests_are_apart(text):
    assert paths(text) == []


def test_what_is_not_for_tests_counts():
    assert paths("#[cfg(not(test))]\nmod m { use super::x; }") == ["self::x"]
    assert paths('#[cfg(feature = "testing")]\nuse crate::x;') == ["crate::x"]


def test_mod_says_where_a_file_is():
    text = 'mod a;\n#[path = "z.rs"]\npub mod b;\nmod inline { mod c; }\nmod here {}\n'
    found = [each for each in read(text.encode()).imports if each.kind == MOD]
    assert [(each.line, each.module, each.names) for each in found] == [
        (1, None, ["a"]),
        (3, "z.rs", ["b"]),
        (4, None, ["inline::c"]),
    ]


def test_names_that_others_may_use():
    text = """
use a::b as c; use d::E; mod f; struct G; enum H {} trait I {} type J = u8; union K { a: u8 }
fn l() {} const M: u8 = 1; static N: u8 = 2; macro_rules! o { () => {} } extern crate p as q;
extern crate r; impl G { fn s() {} }
"""
    facts = read(text.encode())
    assert set(facts.defined) == {*"cEfGHIJKlMNoqr"}
    assert not facts.dynamic


@pytest.mark.parametrize("text", ["pub use a::*;", "make! { x }", "make!(x);"])
def test_names_that_cannot_be_known(text):
    assert read(text.encode()).dynamic


@pytest.mark.parametrize(
    ("text", "documented"),
    [
        ("//! Says.\nfn f() {}", True),
        ("// Licence\n\n//! Says.\n", True),
        ("/*! Says. */", True),
        ("#![allow(x)]\n//! Says.", True),
        ('#![doc = include_str!("x.md")]', True),
        ("", True),
        ("// Says.", True),
        ("fn f() {}\n//! Late.", False),
        ("/// Of f.\nfn f() {}", False),
    ],
)
def test_a_file_says_what_it_is(text, documented):
    facts = read(text.encode())
    assert facts.error is None or "Late" in text
    assert facts.documented is documented


def test_names_against_rfc_430():
    text = (
        "struct lower;\nfn Upper() {}\nmod Mod {}\nstruct Fine;\nfn fine_2() {}\nconst F: u8 = 1;"
    )
    assert read(text.encode()).misnamed == [(1, "lower"), (2, "Upper"), (3, "Mod")]


@pytest.mark.parametrize("text", ["use a;\nfn f( {", "fn f() {}\nstruct S { a: ; }", "fn f() {\n"])
def test_what_cannot_be_parsed(text):
    facts = read(text.encode())
    assert facts.error
    assert 1 <= facts.error[0] <= 3
    assert facts.hidden_imports == text.count("use")
    assert (facts.imports, facts.documented) == ((), False)
