"""Statements of hot paths: compiled once, then run by the driver itself.

SQLAlchemy needs several times as long around a short statement as the server needs for it. Here its dialect says once
what the text is and how values go to and fro; its pool, its error classes and what ends a broken connection stay.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import result_tuple

from libs.observe import tracing

Convert = Callable[[Any], Any]
_NUMBERS = itertools.count(1)


class Prepared:
    """A statement that answers rows and is run with the same names of parameters each time.

    `on_server`: each connection has the server plan it once, which takes as long as doing it. The plan knows no values:
    it is for rows that are found by their keys, whatever they are.
    """

    def __init__(self, statement: sa.Executable, *, on_server: bool = False):
        self.statement = statement
        self._compiled: _Compiled | None = None
        self._name = f"prepared_{next(_NUMBERS)}" if on_server else ""

    def rows(self, engine: sa.Engine, parameters: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """All rows, as an autocommitting connection's execute() would give them. Raises what that would raise."""
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = _compile(self.statement, engine.dialect, parameters)
        values = compiled.values(parameters)
        # SQLAlchemy, which traces its own statements, hears nothing of these.
        with tracing.span(
            compiled.text.partition(" ")[0], **{"db.system": "postgresql", "db.statement": compiled.text}
        ):
            return compiled.read(self._fetch(engine, compiled, values))

    def _fetch(self, engine: sa.Engine, compiled: "_Compiled", values: Mapping[str, Any]) -> list[Any]:
        try:
            pooled: Any = engine.raw_connection()
        except engine.dialect.loaded_dbapi.Error as error:
            sa.Connection._handle_dbapi_exception_noconnection(error, engine.dialect, engine)
            raise
        driver, cursor = pooled.dbapi_connection, None
        try:
            driver.autocommit = True
            cursor = driver.cursor()
            if self._name:
                self._execute_on_server(pooled, cursor, compiled, values)
            else:
                cursor.execute(compiled.text, values)
            found: list[Any] = cursor.fetchall()
        except BaseException as error:
            # SQLAlchemy's own: names the error, and lets go of connections that are broken.
            connection = sa.Connection(engine, connection=pooled)
            connection._handle_dbapi_exception(error, compiled.text, values, cursor, None)
        finally:
            if not driver.closed:
                driver.autocommit = False
            pooled.close()
        return found

    def _execute_on_server(
        self, pooled: Any, cursor: Any, compiled: "_Compiled", values: Mapping[str, Any]
    ) -> None:
        names = [name for name in values if name not in compiled.constants]
        if self._name not in pooled.info:
            # What the statement itself holds stays in its text: by it the planner knows which indexes serve.
            places = {name: f"${number}" for number, name in enumerate(names, 1)}
            constants = {
                name: cursor.mogrify("%s", (value,)).decode() for name, value in compiled.constants.items()
            }
            cursor.execute(f"PREPARE {self._name} AS " + compiled.text % {**constants, **places})
            pooled.info[self._name] = ", ".join(f"%({name})s" for name in names)
        cursor.execute(f"EXECUTE {self._name} ({pooled.info[self._name]})", values)


@dataclass(frozen=True)
class _Compiled:
    text: str
    constants: dict[str, Any]
    """What the statement itself holds, by the names that the driver knows."""
    converts: tuple[tuple[str, Convert], ...]
    """Parameters that the driver cannot take as they are."""
    make_row: Callable[[Sequence[Any]], sa.Row[Any]]
    reads: tuple[tuple[int, Convert], ...]
    """Columns that the driver does not give as they should be."""

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A missing parameter is the driver's KeyError."""
        values = {**self.constants, **parameters}
        for name, convert in self.converts:
            values[name] = convert(values[name])
        return values

    def read(self, found: list[Any]) -> list[sa.Row[Any]]:
        if self.reads:
            found = [list(row) for row in found]
            for row in found:
                for place, convert in self.reads:
                    row[place] = convert(row[place])
        return [self.make_row(tuple(row)) for row in found]


def _compile(statement: Any, dialect: Any, parameters: Mapping[str, Any]) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=list(parameters))
    assert not compiled.insert_prefetch and not compiled.update_prefetch, (
        "what the default of a column would give must be among the parameters"
    )
    assert not compiled.post_compile_params and not compiled.literal_execute_params, (
        "the text of a prepared statement is always the same"
    )
    assert not compiled.escaped_bind_names, "parameters are plain words"
    types = {name: bind.type for bind, name in compiled.bind_names.items()}
    reads = (
        (place, column.type._cached_result_processor(dialect, None))
        for place, column in enumerate(compiled._result_columns)
        if not _is_plain_array(column.type, dialect)
    )
    return _Compiled(
        text=str(compiled),
        constants={n: b.effective_value for b, n in compiled.bind_names.items() if not b.required},
        converts=tuple(
            (name, _as_list if _is_plain_array(types[name], dialect) else convert)
            for name, convert in compiled._bind_processors.items()
        ),
        make_row=result_tuple([column.keyname for column in compiled._result_columns]),
        reads=tuple((place, convert) for place, convert in reads if convert is not None),
    )


def _as_list(value: Any) -> Any:
    """The driver takes a tuple for a row."""
    return value if value is None or type(value) is list else list(value)


def _is_plain_array(kind: Any, dialect: Any) -> bool:
    """Whether the driver's own lists will do: SQLAlchemy would look at each of their items and change none."""
    if not isinstance(kind, sa.ARRAY):
        return False
    item = kind.item_type.dialect_impl(dialect)
    return item.bind_processor(dialect) is None and item.result_processor(dialect, None) is None
