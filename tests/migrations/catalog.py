"""What Postgres itself says that a database is made of, as text that two databases can be compared by."""

from __future__ import annotations

from sqlalchemy import Connection, text

_PARTS = {
    "column": """
        SELECT c.relname || '.' || a.attname,
               concat_ws(' ', format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid),
                         CASE WHEN a.attnotnull THEN 'not null' END, 'identity:' || a.attidentity::text)
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraint": """
        SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "index": """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace""",
    "function": """
        SELECT oid::regprocedure::text, pg_get_functiondef(oid)
          FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    "trigger": """
        SELECT tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
          FROM pg_trigger WHERE NOT tgisinternal""",
    "edge": "SELECT source || ' -> ' || target, '' FROM stage_edges",
}


def catalog(connection: Connection) -> dict[str, str]:
    """Every column, constraint, index, function, trigger and stage edge: name -> definition."""
    found = {
        f"{part} {name}": " ".join(definition.split())
        for part, query in _PARTS.items()
        for name, definition in connection.execute(text(query))
    }
    return {name: text for name, text in found.items() if "alembic_version" not in name}
