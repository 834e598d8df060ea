"""Where plug-ins are: what a person writes becomes a reference, and a reference is loaded when it is used."""
