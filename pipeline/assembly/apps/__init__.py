"""Apps as the ends of a Flow: plug-ins in Python, apps over HTTP, exports of the public platform."""
