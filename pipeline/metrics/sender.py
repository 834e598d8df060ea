"""A sender of notifications whose tries are counted."""

from __future__ import annotations

from pipeline.domain.notifications.delivery import Answer, Delivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.metrics.registry import Metrics
from pipeline.ports.sender import Notification, Sender


class MeteredSender:
    """Passes notifications on to a sender, and counts what became of them."""

    def __init__(self, sender: Sender, metrics: Metrics) -> None:
        self._sender, self._metrics = sender, metrics

    async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
        answer = await self._sender.send(endpoint, notification)
        outcome = "delivered" if isinstance(answer, Delivered) else "gone" if answer.gone else "failed"
        self._metrics.count("pipeline_notifications_attempts_total", endpoint=endpoint.name, outcome=outcome)
        return answer
