"""What the connectors of SQL databases share."""
