"""The lock file of a Flow: what hinders it is said, and a full disk does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.ids import FlowName
from pipeline.stores.flow_lock import hold_flow_lock

CRM = FlowName("crm")


def failing(number: int) -> object:
    """A function of the system that fails with this error."""

    def fail(*_arguments: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EROFS, "it is mounted read-only"), (errno.EACCES, "give this user the right to write")],
)
def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    monkeypatch.setattr(os, "open", failing(number))
    with (
        pytest.raises(RefusedError, match=f"cannot lock a Flow in {tmp_path}.*{advice}"),
        hold_flow_lock(tmp_path, CRM),
    ):
        pytest.fail("the lock is held")


def test_a_full_disk_leaves_the_lock_without_the_name_of_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    with (
        hold_flow_lock(tmp_path, CRM),
        pytest.raises(ConfigurationError, match="'crm' is in use by another process"),
        hold_flow_lock(tmp_path, CRM),
    ):
        pytest.fail("the lock is held twice")
