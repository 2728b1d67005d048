"""Which database speaks what; each is imported when it is first asked."""

from __future__ import annotations

from starlings.blobs import BlobStore

from .query import Engine
from .settings import Connection, SqlSettings


def engine_of(
    connection: Connection, settings: SqlSettings, blobs: BlobStore, timeout_s: float
) -> Engine:
    """Choose by the address."""
    if connection.kind == "postgresql":
        from .postgres import Postgres  # noqa: PLC0415 - who does not use it need not install it

        return Postgres(connection, timeout_s)
    if connection.kind == "bigquery":
        from .bigquery import BigQuery  # noqa: PLC0415

        return BigQuery(connection, timeout_s)
    if connection.kind == "snowflake":
        from .snowflake import Snowflake  # noqa: PLC0415

        return Snowflake(connection, timeout_s)
    from .duck import Duck  # noqa: PLC0415

    return Duck(connection, settings, blobs)
