"""Tests of the example of a tracker use its server."""

from __future__ import annotations

import sys

from tests.examples.moving import EXAMPLES

sys.path.append(str(EXAMPLES / "tracker"))
