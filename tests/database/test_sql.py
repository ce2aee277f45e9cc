"""The tables and every query of the store, as the databases see them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aioboinc import connectors, sql
from aioboinc.connectors import statements

NOUNS = sorted(
    path.stem
    for path in Path(sql.__file__).parent.glob("*.sql")
    if not path.stem.startswith(("pyboinc_batch", "schema_"))
)
BOINC_TABLES = [
    "app",
    "app_version",
    "batch",
    "host",
    "host_app_version",
    "platform",
    "result",
    "team",
    "user",
    "user_submit",
    "user_submit_app",
    "workunit",
]


@pytest.mark.parametrize("noun", NOUNS)
async def test_every_query_fits_the_tables(connector: connectors.Connector, noun: str) -> None:
    """The database can plan it: tables, columns and syntax are right."""
    for name, query in sql.load(noun, connector.dialect).items():
        if query.startswith(("CREATE ", "DROP ")):
            continue  # neither database explains these
        names = statements.parse(query, connector.dialect).names

        async def explain(
            transaction: connectors.Transaction, query: str = query, names: tuple[str, ...] = names
        ) -> None:
            await transaction.fetch_all(f"EXPLAIN {query}", dict.fromkeys(names, 1))

        try:
            await connector.run(explain)
        except Exception as error:
            pytest.fail(f"{noun}.{name}: {error}")


async def test_tables_are_made_once(connector: connectors.Connector) -> None:
    async def insert(transaction: connectors.Transaction) -> None:
        await transaction.execute(
            "INSERT INTO pyboinc_batch (id, appid, token, directory, njobs, digest, state, nassimilated, nerrors,"
            " create_time, version) VALUES (1, 1, 'token', '/', 0, '', 0, 0, 0, 0, 1)"
        )

    await connector.run(insert)
    await connector.script(sql.schema(connector.dialect))
    assert len(await connector.read(lambda transaction: transaction.fetch_all("SELECT * FROM pyboinc_batch"))) == 1


async def test_tables_of_both_are_alike(tmp_path: Path) -> None:
    """The same columns in the same order, of the same types; SQLite's have defaults where BOINC's have none."""
    boinc = _boinc_tables()
    async with connectors.open(f"sqlite://{tmp_path / 'project.sqlite'}") as connector:
        await connector.script(sql.schema("sqlite"))
        for table in BOINC_TABLES:
            columns = await connector.read(lambda transaction, table=table: transaction.columns(table))  # type: ignore[misc]
            assert list(columns) == list(boinc[table])
            for name, column in columns.items():
                kind, rest = boinc[table][name]
                assert column.type == ("integer" if column.default == "auto_increment" else kind)
                assert column.nullable == (not rest.startswith("NOT NULL"))
                assert not column.required
                default = re.search(r"DEFAULT (\S+)", rest)
                if default and kind != "timestamp":
                    assert column.default == default[1]


async def test_an_insert_may_name_a_few_columns(tmp_path: Path) -> None:
    async with connectors.open(f"sqlite://{tmp_path / 'project.sqlite'}") as connector:
        await connector.script(sql.schema("sqlite"))
        for table in BOINC_TABLES:
            await connector.script([f"INSERT INTO {table} DEFAULT VALUES"])


async def test_ids_are_not_used_again(tmp_path: Path) -> None:
    """Names of files are made from them."""

    async def insert(transaction: connectors.Transaction) -> int:
        return await transaction.insert("INSERT INTO batch (name) VALUES ('')")

    async with connectors.open(f"sqlite://{tmp_path / 'project.sqlite'}") as connector:
        await connector.script(sql.schema("sqlite"))
        first = await connector.run(insert)
        await connector.script(["DELETE FROM batch"])
        assert await connector.run(insert) > first


def _boinc_tables() -> dict[str, dict[str, tuple[str, str]]]:
    """Return type and the rest of each column in boinc_schema.sql, without the widths of integers."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    script = Path(__file__).with_name("boinc_schema.sql").read_text()
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\) ENGINE", script, re.DOTALL):
        rows = re.findall(r"^    ([a-z_]+) ([a-z]+(?:\(\d+\))?)(?: unsigned)? (.*?),?$", body, re.MULTILINE)
        tables[table] = {name: (re.sub(r"int\(\d+\)", "int", kind), rest) for name, kind, rest in rows}
    return tables
