"""Prometheus reads the alerts, and each fires on what it is for and on nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ALERTS = Path(__file__).parents[2] / "config" / "prometheus" / "alerts.yml"
CASES = Path(__file__).with_name("alerts.test.yml")
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("command", [["check", "rules", str(ALERTS)], ["test", "rules", str(CASES)]], ids=" ".join)
def test_promtool_accepts(command: list[str]) -> None:
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "SUCCESS" in ran.stdout


def test_the_cases_have_each_alert_as_it_fires_and_as_it_does_not() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    cases = CASES.read_text()
    assert set(alerts) == set(re.findall(r"alertname: (\w+)\n +exp_alerts:", cases))
    assert set(alerts) == set(re.findall(r"alertname: (\w+)\}", cases))
