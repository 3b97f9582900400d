"""Write the first migration from the declared tables and triggers: ``python -m tools.schema_dump``.

Only while nothing is released: afterwards a change of the schema is a new migration, and this refuses to run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Dialect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestrator.domain.stages import STAGE_TRANSITIONS
from orchestrator.store.local_schema import metadata
from orchestrator.store.triggers import FUNCTIONS, TRIGGERS

VERSIONS: Final = Path(__file__).parent.parent / "orchestrator" / "store" / "migrations" / "versions"
FIRST: Final = VERSIONS / "v0001_first_schema.py"

_TEMPLATE: Final = '''"""The first schema: every table, index, function and trigger, and the stage graph as rows."""

# ORC008: one frozen statement after the other, written by tools/schema_dump.py until the first release
# ruff: noqa: E501

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0001"
down_revision: Final = None

STATEMENTS: Final = (
{statements}
)


def upgrade() -> None:
    """Create all of it in an empty database."""
    for statement in STATEMENTS:
        op.execute(statement)
'''


def render() -> str:
    """The text of the first migration, as the declared schema asks for it now."""
    return _TEMPLATE.format(statements="\n".join(f'    """{_checked(one)}""",' for one in _statements()))


def _statements() -> Iterator[str]:
    # A paramstyle without percent signs, so that none is doubled.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # untyped in the library
    for table in metadata.sorted_tables:
        yield _tidy(str(CreateTable(table).compile(dialect=dialect)))
        yield from sorted(_index_statements(table.name, dialect))
    # As they stand: their text is what pg_proc keeps.
    yield from FUNCTIONS
    for name, when, table_name, call in TRIGGERS:
        yield f"CREATE TRIGGER {name} {when} ON {table_name} FOR EACH ROW EXECUTE FUNCTION {call}"
    yield _stage_graph()


def _index_statements(table_name: str, dialect: Dialect) -> Iterator[str]:
    for index in metadata.tables[table_name].indexes:
        yield _tidy(str(CreateIndex(index).compile(dialect=dialect)))


def _stage_graph() -> str:
    edges = [(source, target) for source, targets in STAGE_TRANSITIONS.items() for target in sorted(targets)]
    rows = ",\n    ".join(f"('{source}', '{target}')" for source, target in edges)
    return f"INSERT INTO stage_edges (source, target) VALUES\n    {rows}"


def _tidy(statement: str) -> str:
    return "\n".join(line.rstrip().replace("\t", "    ") for line in statement.strip().splitlines())


def _checked(statement: str) -> str:
    # Alembic reads the text as SQLAlchemy's: a word after a colon would be a parameter.
    if text(statement).compile().params or '"""' in statement or "\\" in statement:
        raise ValueError(f"this cannot stand in a migration as it is: {statement}")
    return statement


def main() -> int:
    """Exit code: 0 written, 1 refused."""
    later = [path.name for path in VERSIONS.glob("v*.py") if path != FIRST]
    if later:
        sys.stderr.write(f"{', '.join(sorted(later))} follows the first migration: write the next one instead\n")
        return 1
    FIRST.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
