"""Importers as Destinations: records as the author's rows, marks, the id map and rejected records in the object store."""
