"""Between the pipeline and an author's functions: every call and every `await` of theirs may go wrong, and is noted."""
