"""The dashboard: pages made on the server, which work without JavaScript and are kept up to date with it."""
