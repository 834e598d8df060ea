"""Reading metrics as Prometheus does."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families


def samples(text: str) -> Mapping[tuple[str, ...], float]:
    """Return each sample by its name and its labels, such as ("pipeline_files_total", "flow=crm", "outcome=stored")."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
