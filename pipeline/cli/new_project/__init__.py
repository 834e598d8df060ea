"""`pipeline new`: the files of an author's new project."""
