"""Commands for authors of Exporters and Importers."""
