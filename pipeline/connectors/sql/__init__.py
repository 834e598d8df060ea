"""What the connectors of SQL databases share. It knows no database driver."""
