"""The tables of a database as streams, and what a PostgreSQL destination needs to make them again.

A stream is an ordinary table, or a partitioned table with the rows of all its partitions. Of tables that inherit from
each other each is a stream of its own rows. Left out are views, foreign tables, temporary and system tables, tables of
extensions, and our own (schema `_pipeline`, tables `_pipeline_*`).

The stream of the table `t` of the schema `public` is called `t`, of another schema `s` it is `s.t`. A part that holds
a dot or a double quote is written as an SQL identifier, in double quotes. The label is the stream's name.

**Columns.** `StreamSchema.columns` are the columns that records hold, in the order of the table: all but generated
ones (a generated column is there only when it is part of the key). `native_type` is the type as `format_type` writes it
(`numeric(12,2)`, `public.mood`, `text[]`), `default` the default as an expression, `size` the declared length.

**Key.** The primary key; or else the unique index that has only columns which are NOT NULL (the one with the fewest
columns, then by name; not partial, not deferrable, without expressions); or else two columns that the table does not
have come first in every record:

    $row   text, 32 hexadecimal digits: a digest of the row's content (`row_key.digest` is the SQL that computes it)
    $dup   integer: 0, 1, 2 … among rows of equal content

So an upsert of ($row r, $dup n) means: there are at least n + 1 rows of this content. A delete of ($row r, $dup n)
means: there are at most n rows with this digest. Both are idempotent, and need no key at the destination.

**`StreamSchema.native["postgresql"]`** is a JSON object. Every SQL text in it is complete and schema-qualified, valid
under `search_path = pg_catalog`. Names are plain, not quoted, unless said otherwise.

    version          1
    server_version   of the source, as 180006
    schema, table    where the table is
    kind             "table" or "partitioned"
    unlogged         true for an UNLOGGED table
    columns          ALL columns in order, generated ones included; each an object of
        name, type       type as SQL, with its schema: "bigint", "public.mood", "character varying(10)"
        not_null         boolean
        default          SQL expression or null (null for generated and identity columns)
        identity         "" | "ALWAYS" | "BY DEFAULT"
        generated        null | {"expression": SQL, "kind": "STORED" | "VIRTUAL"}
        collation        SQL name as '"pg_catalog"."C"' when it is not the type's own; else null
    key              {"name": constraint or index, "columns": [names], "kind": "primary" | "unique"}; null without
    row_key          null | {"row": "$row", "dup": "$dup", "digest": SQL over the table's columns, unqualified}
    constraints      primary key, unique, check and exclusion constraints, each {"name", "kind": "primary" | "unique" |
                     "check" | "exclusion", "definition": as in ALTER TABLE … ADD CONSTRAINT name <definition>}
    indexes          those that no constraint makes: {"name", "definition": a complete CREATE INDEX statement, "unique": bool}
    foreign_keys     {"name", "definition": as in ADD CONSTRAINT, "references": [schema, table]}
    partition_by     null | as in PARTITION BY <partition_by>: "RANGE (created_at)"
    partitions       of a partitioned table all below it, parents first, each {"schema", "table", "parent": [schema,
                     table], "bound": as in PARTITION OF parent <bound>: "FOR VALUES FROM (1) TO (10)" or "DEFAULT",
                     "partition_by": null or as above, "constraints" and "indexes": those that are not inherited}
    inherits         [[schema, table], …] the parents of a table in classic inheritance, in order
    sequences        those that a column owns or its default uses: {"schema", "name", "column": name or null, "owned":
                     bool, "identity": bool, "options": as in CREATE SEQUENCE name <options>, "last_value": int or null when
                     never used}; the next value is last_value + increment, or the start value
    types            all user-defined types that the columns need, in the order to make them, each {"schema", "name",
                     "kind": "enum" | "domain" | "composite" | "range" | "row", "create": a complete CREATE statement (null
                     for "row", the row type of another table), "labels": [strings] for an enum, else absent}
    extensions       names of the extensions whose types the columns use
    schemas          all schemas that the above needs and that are not PostgreSQL's own
"""
