"""Exporters as Sources: rows as blocks in key order, unordered rows sorted on disk, pages kept until they are exported."""
