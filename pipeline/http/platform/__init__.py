"""The public app-migration platform's paths and shapes, so that an app which is written for it can be tried on a laptop."""
