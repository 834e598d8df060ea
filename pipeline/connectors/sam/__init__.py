"""The SAM dialect: exports of the public app-migration platform as a source, and a destination that writes such exports."""
