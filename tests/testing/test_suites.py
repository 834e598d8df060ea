"""The suites for authors hold for what is sound, and fail for planted mistakes."""

from __future__ import annotations

from pipeline.testing.suites.importers import importer_suite
from tests.testing import sound

TestCreated = importer_suite(sound.created)
TestKeyed = importer_suite(sound.keyed)
TestTransacted = importer_suite(sound.transacted)
TestStaged = importer_suite(sound.staged)
