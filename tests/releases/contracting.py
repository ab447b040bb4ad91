"""What a migration's upgrade() takes from the release that still runs, or asks of it; read without running it."""

import ast
import re
from dataclasses import dataclass, field
from typing import Any

ALWAYS = {
    "drop_column": "the release before reads and writes it",
    "drop_table": "the release before reads and writes it",
    "rename_table": "the release before knows the old name; add the new one beside it",
    "batch_alter_table": "say what is done, so that it can be read: op.add_column and the like",
    "get_bind": "say what is done, so that it can be read: op.execute and the like",
    "get_context": "a migration is one transaction, so that it can be started again",
}
ADDS = {"create_table", "create_table_comment", "bulk_insert", "create_index", "f"}
"""What adds, and asks nothing of what was there; of an index that is unique more is said below."""
NAME = r'[\w."]+'
ALLOWED_SQL = (
    rf"ALTER INDEX (IF EXISTS )?{NAME} RENAME TO {NAME}",  # no code asks for an index by name
    rf"CREATE INDEX (IF NOT EXISTS )?({NAME} )?ON .+",
    rf"INSERT INTO {NAME} ?(\([^()]*\) ?)?VALUES ?\((?!.*\b(SELECT|UPDATE)\b).+",
)
"""Statements written out that take nothing from the release before; their literals are left out."""
UNREADABLE_SQL = r"--|/\*|\\|\$"
WHY_NOT_SQL = {
    r"\bDROP (TABLE|COLUMN|VIEW|TYPE)\b": "the release before reads and writes it",
    r"\bTRUNCATE\b|\bDELETE FROM\b": "a migration deletes no rows",
    r"\b(UPDATE|MERGE|SELECT)\b": "rows are filled in batches (libs/batches.py), not in one transaction",
    r"\bRENAME\b": "the release before knows the old name",
    r"\bSET NOT NULL\b": "the release before may leave it empty",
    r"\bDROP DEFAULT\b": "the release before relies on it",
    r"\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b": "the table is rewritten under a lock",
}
NOT_LISTED = "it is not on the list of what adds alone; say it by op.add_column and the like"


@dataclass
class Migration:
    """What one migration does, as its text says."""

    objections: list[str] = field(default_factory=list)
    unused_since: str | None = None
    """The release whose code no longer uses what this takes away: `CONTRACTS = "unused since 1.3.0"`."""
    widened: tuple[str, ...] = ()
    """Constraints that it makes anew so that they let more through: `WIDENS = ("ck_orders_state",)`."""
    made: set[str] = field(default_factory=set)
    """Tables that are new with it: nobody uses them yet."""
    added: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Columns that are new with it, and whether they may be empty."""


def read(source: str) -> Migration:
    """What the text of a migration does to the release before. Raises ValueError for a mark that says nothing."""
    found, module = Migration(), ast.parse(source)
    marks = {
        getattr(part.targets[0], "id", ""): part.value for part in module.body if isinstance(part, ast.Assign)
    }
    if "CONTRACTS" in marks:
        said = re.fullmatch(r"unused since (\d+\.\d+\.\d+)", str(_literal(marks["CONTRACTS"])))
        if not said:
            raise ValueError('say since which release: CONTRACTS = "unused since 1.3.0"')
        found.unused_since = said[1]
    if "WIDENS" in marks:
        found.widened = tuple(_literal(marks["WIDENS"]))
    bodies = [part for part in module.body if isinstance(part, ast.FunctionDef) and part.name != "downgrade"]
    calls = [node for body in bodies for node in ast.walk(body) if _operation(node)]
    calls.sort(key=lambda call: call.lineno)
    for call in calls:
        _note_what_is_new(call, found)
    for call in calls:
        why = _objection(call, found)
        if why:
            found.objections.append(f"line {call.lineno}: {_operation(call)}: {why}")
    return found


def _operation(node: ast.AST) -> str:
    """The name of an operation of alembic's, where this is a call of one."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    return node.func.attr if getattr(node.func.value, "id", "") == "op" else ""


def _literal(node: ast.AST | None) -> Any:
    """A constant, or op.f() and sa.text() around one; None for what only running it would tell."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("f", "text") and node.args:
        node = node.args[0]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    return node.value if isinstance(node, ast.Constant) else None


def _argument(call: ast.Call, place: int, name: str) -> Any:
    named = next((given.value for given in call.keywords if given.arg == name), None)
    return _literal(named if named is not None else call.args[place] if len(call.args) > place else None)


def _given(call: ast.Call) -> set[str]:
    return {str(given.arg) for given in call.keywords}


def _note_what_is_new(call: ast.Call, found: Migration) -> None:
    if _operation(call) == "create_table":
        found.made.add(_argument(call, 0, "table_name"))
    elif _operation(call) == "add_column":
        column = call.args[1]
        assert isinstance(column, ast.Call), "say which column: sa.Column(…)"
        may_be_empty = _argument(column, 99, "nullable") is not False
        found.added[_argument(call, 0, "table_name"), _literal(column.args[0])] = may_be_empty


def _objection(call: ast.Call, found: Migration) -> str | None:
    name = _operation(call)
    if name in ALWAYS:
        return ALWAYS[name]
    if name == "execute":
        return _objection_to_sql(_argument(call, 0, "sqltext"))
    if name == "alter_column":
        return _objection_to_alteration(call)
    if name == "add_column":
        column: Any = call.args[1]
        is_left_empty = _argument(column, 99, "nullable") is False and "server_default" not in _given(column)
        return "the release before leaves it empty: give it a server_default" if is_left_empty else None
    return _objection_to_rule(name, call, found)


def _objection_to_sql(text: Any) -> str | None:
    """What is on no list is refused: SQL has more ways to take something away than anybody writes down."""
    if not isinstance(text, str):
        return "its statement stands in no one text, so that nobody can read it here"
    if re.search(UNREADABLE_SQL, text):
        return "comments, and literals quoted otherwise than by ', hide what it does"
    bare = re.sub(r"\s+", " ", re.sub(r"'(?:[^']|'')*'", "''", text))
    for statement in filter(None, map(str.strip, bare.split(";"))):
        if not any(re.fullmatch(allowed, statement, re.IGNORECASE) for allowed in ALLOWED_SQL):
            known = (
                why for pattern, why in WHY_NOT_SQL.items() if re.search(pattern, statement, re.IGNORECASE)
            )
            return next(known, NOT_LISTED)
    return None


def _objection_to_alteration(call: ast.Call) -> str | None:
    given = _given(call)
    if "new_column_name" in given:
        return "the release before knows the old name; add the new one beside it"
    if "type_" in given:
        return "the table is rewritten under a lock, and the release before knows the old type"
    if _argument(call, 99, "nullable") is False:
        return "the release before may leave it empty"
    default = next((item.value for item in call.keywords if item.arg == "server_default"), None)
    if isinstance(default, ast.Constant) and default.value in (None, False):
        return "the release before relies on the default"
    return None


def _objection_to_rule(name: str, call: ast.Call, found: Migration) -> str | None:
    """A constraint on what was there before refuses rows that the release before writes; a lost one it may name."""
    called = str(_argument(call, 0, "index_name" if name.endswith("index") else "constraint_name"))
    if called in found.widened:
        return None
    if name in ("drop_index", "drop_constraint"):
        is_named = called.startswith(("uq_", "pk_"))
        return "the release before may name it in ON CONFLICT" if is_named else None
    table = _argument(call, 1, "source_table" if name == "create_foreign_key" else "table_name")
    columns: list[str]
    if name == "create_check_constraint":
        columns = re.findall(r"\w+", str(_argument(call, 2, "condition") or ""))
        is_about_new = any((table, column) in found.added for column in columns)
    elif name == "create_foreign_key":
        columns = _argument(call, 3, "local_cols") or []
        is_about_new = bool(columns) and all((table, column) in found.added for column in columns)
    elif name == "create_unique_constraint" or (name == "create_index" and _is_unique(call)):
        columns = _argument(call, 2, "columns") or []
        # Of rows that are alike in it none is refused where it is empty, which the release before leaves it.
        is_about_new = any(found.added.get((table, column)) for column in columns)
    elif name in ("create_exclude_constraint", "create_primary_key"):
        is_about_new = False
    else:
        return None if name in ADDS else NOT_LISTED
    if table in found.made or is_about_new:
        return None
    return "the release before may write what it refuses"


def _is_unique(call: ast.Call) -> bool:
    return "unique" in _given(call) and _argument(call, 99, "unique") is not False
