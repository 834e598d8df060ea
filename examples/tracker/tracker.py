"""The tracker, both sides: an Exporter that reads a tracker's REST API, and an Importer that fills another one.

    pipeline move ./tracker.py:exporter ./tracker.py:importer --source-set url=https://old --destination-set url=https://new

Projects come in pages. Issues come in pages once, and then from a feed of changes. Each issue refers to a project, whose id at
the new tracker the pipeline knows, and may have a file. The API recognises a second request to create an object by its key. Of an
issue it is also asked whether it exists, since keys are forgotten after some time.
"""

from __future__ import annotations

from client import Client, Issue, Project, connect

from pipeline.kit import Changes, Exporter, Import, Importer, Page

exporter = Exporter("tracker", contract="tracker/1")
importer = Importer("tracker-cloud", accepts="tracker/1")
exporter.connect(connect)
importer.connect(connect)


@exporter.pages("projects", row=Project, key="id", order="stable")
async def projects(client: Client, after: str | None) -> Page[Project]:
    return await client.projects(after)


@exporter.pages("issues", row=Issue, key="id")
async def issues(client: Client, after: str | None) -> Page[Issue]:
    return await client.issues(after)


@exporter.changes("issues", row=Issue, key="id")
async def changed_issues(client: Client, since: str | None) -> Changes[Issue]:
    return await client.issue_changes(since)


@importer.creates("projects", row=Project)
async def create_project(target: Client, project: Project, ctx: Import) -> str:
    return await target.create("/projects", {"name": project.name}, key=ctx.once_key)


@create_project.update
async def update_project(target: Client, id_: str, project: Project, ctx: Import) -> None:
    await target.replace("/projects", id_, {"name": project.name})


@create_project.delete
async def delete_project(target: Client, id_: str, ctx: Import) -> None:
    await target.delete("/projects", id_)


@importer.creates("issues", row=Issue)
async def create_issue(target: Client, issue: Issue, ctx: Import) -> str:
    return await target.create("/issues", await fields(target, issue, ctx), key=ctx.once_key)


@create_issue.find
async def find_issue(target: Client, issue: Issue, ctx: Import) -> str | None:
    return await target.find("/issues", external=issue.id)


@create_issue.update
async def update_issue(target: Client, id_: str, issue: Issue, ctx: Import) -> None:
    await target.replace("/issues", id_, await fields(target, issue, ctx))


@create_issue.delete
async def delete_issue(target: Client, id_: str, ctx: Import) -> None:
    await target.delete("/issues", id_)


async def fields(target: Client, issue: Issue, ctx: Import) -> dict[str, object]:
    project, file = await ctx.ids.need("projects", issue.project_id), None
    if issue.screenshot is not None:
        async with ctx.binary(issue.screenshot) as pieces:
            file = await target.upload(pieces, key=ctx.once_key)
    return {"project_id": int(project), "title": issue.title, "external": issue.id, "file": file}
