"""Where an export is: a plain directory, or a prefix of a bucket."""
