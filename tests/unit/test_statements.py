"""Parameters in SQL text, literals of MySQL's, and the files of queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioboinc import models, sql
from aioboinc.connectors import literals, statements


@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT 1", ()),
        ("SELECT :a, :b_2, :a", ("a", "b_2", "a")),
        ("WHERE a=:a AND (b IN (:b))", ("a", "b")),
        ("SELECT ':a', \":a\", `:a`, :b", ("b",)),
        ("SELECT 'it''s :a', :b", ("b",)),
        ("SELECT '\"', :a, \"'\", :b", ("a", "b")),
        ("SELECT '10:30', 10 :30, a:b, ::c", ()),
        ("SELECT 1 -- :a\n, :b", ("b",)),
        ("SELECT 1 -- :a", ()),
        ("SELECT /* :a\n ' */ :b", ("b",)),
    ],
)
def test_parameters(dialect: str, text: str, names: tuple[str, ...]) -> None:
    statement = statements.parse(text, dialect)
    assert statement.names == names
    rebuilt = statement.pieces[0] + "".join(
        f":{name}{piece}" for name, piece in zip(statement.names, statement.pieces[1:], strict=True)
    )
    assert rebuilt == text


def test_parameters_where_dialects_differ() -> None:
    assert statements.parse(r"SELECT '\', :a, ''", "sqlite").names == ("a",)
    assert statements.parse(r"SELECT '\', :a, ''", "mysql").names == ()
    assert statements.parse("SELECT 1--:a\n", "sqlite").names == ()
    assert statements.parse("SELECT 1--:a\n", "mysql").names == ("a",)
    assert statements.parse("SELECT 1 # :a\n", "mysql").names == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("INSERT INTO t (a, b) VALUES (:a, f(:b, ')'))", ("INSERT INTO t (a, b)", ("a", "b"), "")),
        ("insert into t\nvalues(:a) ", ("insert into t", ("a",), " ")),
        ("REPLACE INTO t VALUES (1)", ("REPLACE INTO t", (), "")),
        (
            "INSERT INTO t (a) VALUES (:a) ON DUPLICATE KEY UPDATE a = VALUES(a)",
            ("INSERT INTO t (a)", ("a",), " ON DUPLICATE KEY UPDATE a = VALUES(a)"),
        ),
        ("INSERT INTO t (a) VALUES (:a) ON DUPLICATE KEY UPDATE a = :b", None),
        ("INSERT INTO t (a) VALUES (:a), (:b)", None),
        ("INSERT INTO t (a) SELECT :a", None),
        ("INSERT INTO t (a) SELECT 'VALUES (1)' FROM u", None),
        ("UPDATE t SET a = VALUES (:a)", None),
    ],
)
def test_insert(text: str, parts: tuple[str, tuple[str, ...], str] | None) -> None:
    insert = statements.parse_insert(text, "mysql")
    assert (insert and (insert.head.rstrip(), insert.values.names, insert.tail)) == parts


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, b"NULL"),
        (True, b"1"),
        (-5, b"-5"),
        (models.ErrorMask.CANCELLED | models.ErrorMask.COULDNT_SEND_RESULT, b"17"),
        (models.Outcome.SUCCESS, b"1"),
        (0.1, b"0.1e0"),
        (1e22, b"1e+22"),
        ("a'b\\c", rb"'a\'b\\c'"),
        (b"a'b\\c\0", b"_binary'a\\'b\\\\c\0'"),
        ([1, "a"], b"1,'a'"),
        ([], b"SELECT NULL FROM DUAL WHERE FALSE"),
    ],
)
def test_literals(value: object, literal: bytes) -> None:
    assert literals.fill("SELECT :v", {"v": value}) == b"SELECT " + literal


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {}, bytearray(b"x")])
def test_no_literals(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        literals.fill("SELECT :v", {"v": value})


def test_many_rows_are_packed_to_the_limit() -> None:
    rows = [{"a": "x" * 30} for _ in range(100)]
    inserts = list(literals.fill_many("INSERT INTO t VALUES (:a, 1)", rows, 1000))
    assert sum(insert.count(b", 1)") for insert in inserts) == 100
    assert all(len(insert) < 1000 for insert in inserts)
    assert all(len(insert) > 900 for insert in inserts[:-1])
    assert all(insert.startswith(b"INSERT INTO t VALUES (") for insert in inserts)
    assert len(list(literals.fill_many("INSERT INTO t VALUES (:a, 1)", rows, 10))) == 100
    assert list(literals.fill_many("INSERT INTO t VALUES (:a, 1)", [], 1000)) == []
    once = list(literals.fill_many("INSERT INTO t VALUES (:a, 1)", rows, 1000, select_from_values=True))
    assert sum(insert.count(b"('xxx") for insert in once) == 100
    assert all(len(insert) < 1000 and insert.count(b", 1") == 1 for insert in once)
    updates = list(literals.fill_many("UPDATE t SET a = :a", [{"a": 1}, {"a": 2}], 1000))
    assert updates == [b"UPDATE t SET a = 1;UPDATE t SET a = 2"]


def test_what_rows_have_in_common_is_sent_once() -> None:
    sql = "INSERT INTO t (a, b, c) VALUES (:a, f(1), g(:b, :a)) ON DUPLICATE KEY UPDATE a = VALUES(a)"
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert list(literals.fill_many(sql, rows, 1000, select_from_values=True)) == [
        b"INSERT INTO t (a, b, c) WITH v (c0, c1) AS (VALUES (1,'x'),(2,NULL)) SELECT v.c0, f(1), g(v.c1, v.c0)"
        b" FROM v  ON DUPLICATE KEY UPDATE a = VALUES(a)"
    ]
    assert list(literals.fill_many("INSERT INTO t VALUES (1)", [{}, {}], 1000, select_from_values=True)) == [
        b"INSERT INTO t VALUES (1), (1)"
    ]


# Files of queries

FILE = """
-- find: a thing by its name
SELECT *
-- with a note: of some kind
FROM thing WHERE name = :name;

-- now [sqlite]: the time there
SELECT unixepoch()

-- now [mysql]: the time there
SELECT UNIX_TIMESTAMP()
"""


def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, dialect: str = "mysql") -> dict[str, str]:
    (tmp_path / "things.sql").write_text(text)
    monkeypatch.setattr(sql.importlib.resources, "files", lambda package: tmp_path)  # type: ignore[attr-defined]
    sql.load.cache_clear()
    try:
        return dict(sql.load("things", dialect))
    finally:
        sql.load.cache_clear()


def test_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = "SELECT *\nFROM thing WHERE name = :name"
    assert load(monkeypatch, tmp_path, FILE) == {"find": find, "now": "SELECT UNIX_TIMESTAMP()"}
    assert load(monkeypatch, tmp_path, FILE, "sqlite") == {"find": find, "now": "SELECT unixepoch()"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "heading"),
        ("-- empty: nothing follows\n\n-- find: it\nSELECT 1", "empty"),
        ("-- find: it\nSELECT 1\n\n-- find: it again\nSELECT 2", "twice"),
        ("-- find [oracle]: it\nSELECT 1", "oracle"),
        ("-- find:\nSELECT 1", "heading"),
    ],
)
def test_file_out_of_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(monkeypatch, tmp_path, text)
