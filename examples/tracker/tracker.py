"""The tracker, both sides: an Exporter that reads a tracker's REST API, and an Importer that fills another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from client import Client

from pipeline.kit import Exporter, Import, Importer, Page, Secret


@dataclass
class Settings:
    url: str
    token: Secret = Secret("")  # noqa: RUF009  # a Secret does not change


@dataclass
class Project:
    id: int
    name: str


@dataclass
class Issue:
    id: int
    project_id: int
    title: str


exporter = Exporter("tracker", contract="tracker/1")
importer = Importer("tracker-cloud", accepts="tracker/1")


@exporter.connect
@importer.connect
async def connect(settings: Settings) -> AsyncIterator[Client]:
    yield Client(settings.url, settings.token.reveal())


@exporter.pages("projects", row=Project, key="id", order="stable")
async def projects(client: Client, after: str | None) -> Page[Project]:
    got = await client.get("/projects", after=after)
    return Page([Project(**item) for item in got["items"]], next=got["next"])


@exporter.pages("issues", row=Issue, key="id")
async def issues(client: Client, after: str | None) -> Page[Issue]:
    got = await client.get("/issues", offset=after)
    return Page([Issue(**item) for item in got["items"]], next=got["next"], total=got["total"])


@importer.creates("projects", row=Project)
async def create_project(target: Client, project: Project, ctx: Import) -> str:
    return str((await target.post("/projects", {"name": project.name}, key=ctx.once_key))["id"])


@importer.creates("issues", row=Issue)
async def create_issue(target: Client, issue: Issue, ctx: Import) -> str:
    project = await ctx.ids.need("projects", issue.project_id)
    body = {"project_id": int(project), "title": issue.title, "external": str(issue.id)}
    return str((await target.post("/issues", body, key=""))["id"])


@create_issue.find
async def find_issue(target: Client, issue: Issue, ctx: Import) -> str | None:
    found = (await target.get("/issues", external=issue.id))["items"]
    return str(found[0]["id"]) if found else None


@create_project.update
async def update_project(target: Client, id_: str, project: Project, ctx: Import) -> None:
    await target.put("/projects", id_, {"name": project.name})


@create_issue.update
async def update_issue(target: Client, id_: str, issue: Issue, ctx: Import) -> None:
    project = await ctx.ids.need("projects", issue.project_id)
    body = {"project_id": int(project), "title": issue.title, "external": str(issue.id)}
    await target.put("/issues", id_, body)


@create_project.delete
async def delete_project(target: Client, id_: str, ctx: Import) -> None:
    await target.delete("/projects", id_)


@create_issue.delete
async def delete_issue(target: Client, id_: str, ctx: Import) -> None:
    await target.delete("/issues", id_)
