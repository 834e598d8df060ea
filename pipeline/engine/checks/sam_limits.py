"""The limits that the public platform sets to an app's own checks. They are a lint, not rules of this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.domain.flows.findings import CheckFinding, Severity, finding_of

MOST_CHECKS = 3
MOST_TITLE_CHARACTERS = 60
MOST_STEPS_CHARACTERS = 1_050


def sam_limits_finding(apps: Sequence[Mapping[str, str]], findings: Sequence[CheckFinding]) -> CheckFinding:
    """Checks that the platform would cut or leave out. `apps` has the titles of each app's checks by id."""
    problems = [
        f"{len(titles)} checks in one app, at most {MOST_CHECKS}" for titles in apps if len(titles) > MOST_CHECKS
    ]
    for titles in apps:
        problems += [
            f"{id_}: a title of {len(title):,} characters, at most {MOST_TITLE_CHARACTERS}"
            for id_, title in titles.items()
            if len(title) > MOST_TITLE_CHARACTERS
        ]
    problems += [
        f"{one.id}: steps of {len(one.steps):,} characters, at most {MOST_STEPS_CHARACTERS:,}"
        for one in findings
        if len(one.steps) > MOST_STEPS_CHARACTERS
    ]
    return finding_of(
        "sam-limits",
        problems,
        Severity.WARNING,
        fine="The app's checks keep the limits of the public platform.",
        title="Checks that the public platform would cut or leave out.",
        steps="Shorten them, or have fewer. Here they work as they are.",
    )
