"""Importing contacts in the browser: a file is uploaded, looked at, and imported behind the scenes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from parcours.db.tables import campaigns, imports, segments
from parcours.db.tables.imports import StoredImport
from parcours.domain.campaign_file.edit import fresh_key
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import KEY_LENGTH, slug
from parcours.producers.files.columns import FileColumn
from parcours.producers.files.headers import FIELD_NAMES, OWN
from parcours.services import rejected_rows, uploaded_import
from parcours.services.contact_import import FileLook
from parcours.services.uploaded_import import MOST_BYTES, PART_BYTES
from parcours.web.i18n import labels
from parcours.web.i18n.field_words import field_name, value_text
from parcours.web.i18n.language import _, marked, number, reader
from parcours.web.i18n.sentences import told
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, draft_choice, pages_router
from parcours.web.pages.rendering import ask_for_good, redirect, render
from parcours.web.problems import ProblemError
from parcours.web.security.access import CSRF_FIELD, CSRF_HEADER, Visitor, check_csrf, may_edit, visitor
from parcours.web.security.bodies import content_type

router = pages_router()
# Its form is read as it comes, so that it is checked here.
uploads = APIRouter(include_in_schema=False)

HERE = "/contacts/+import"
LISTED = 10
ENCODINGS = (
    ("utf-8", "UTF-8"),
    ("cp1252", marked("Windows-1252 (Western European)")),
    ("latin1", "ISO 8859-1"),
    ("utf-16", "UTF-16"),
    ("iso8859-15", "ISO 8859-15"),
    ("mac_roman", "Mac Roman"),
    ("cp1250", marked("Windows-1250 (Central European)")),
    ("cp1251", marked("Windows-1251 (Cyrillic)")),
)
DELIMITERS = ((",", marked("Comma")), (";", marked("Semicolon")), ("\t", marked("Tab")), ("|", marked("Vertical bar")))
DATES = (("DMY", marked("Day, month, year")), ("MDY", marked("Month, day, year")), ("YMD", marked("Year, month, day")))
DECIMALS = ((".", marked("Point")), (",", marked("Comma")))
SAME_ADDRESS = (
    ("merge", marked("Update the contact that has the address")),
    ("reject", marked("Reject the row")),
)
# What most files bring besides a contact's own attributes.
OFTEN = tuple(FIELD_NAMES)
# Columns to choose for, columns of the first rows, and notes that a page shows: a file may have thousands, and a form
# cannot bring as many. What is not shown is a field.
MOST_COLUMNS = 500
MOST_HEADS = 50
MOST_NOTES = 50
# What stands in for the options of the command in sentences that both say.
_OPTIONS = {
    "--map": marked("the column assignment"),
    "--encoding": marked("the field “Encoding”"),
    "--columns": marked("a first line with names"),
    "--do-not-contact": marked("the column assignment"),
}


@router.get(HERE)
def ask(request: Request, site: SiteOf) -> Response:
    """Ask for a file, and list the latest imports."""
    return _ask(request, site)


class _TooLargeError(MultiPartException):
    """The file is longer than may be."""


async def posted_file(request: Request, found: Annotated[Visitor, Depends(visitor)]) -> FormData:
    """Return a form with a file, which is on the disk by then. Raises ProblemError for one that is not of ours."""
    may_edit(found)
    header = request.headers.get(CSRF_HEADER)
    if content_type(request) != "multipart/form-data":
        check_csrf(request, header or "")
        raise ProblemError(400, _("Choose a file to upload."))

    async def bounded() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BYTES + PART_BYTES:
                # The parser, which closes its files for this error alone, hands it on.
                raise _TooLargeError(_too_large())
            yield chunk

    try:
        form = await MultiPartParser(request.headers, bounded(), max_files=1, max_fields=20).parse()
    except _TooLargeError as error:
        raise ProblemError(413, error.message) from None
    except (MultiPartException, KeyError, ValueError):
        check_csrf(request, header or "")
        raise ProblemError(400, _("The form cannot be read; go back, reload the page and try again.")) from None
    try:
        check_csrf(request, header or str(form.get(CSRF_FIELD, "")))
    except ProblemError:
        await form.close()
        raise
    return form


@uploads.post(HERE)
async def upload(
    request: Request, site: SiteOf, found: VisitorOf, form: Annotated[FormData, Depends(posted_file)]
) -> Response:
    """Keep a file, and lead to what would become of it."""
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        return _ask(request, site, _("Choose a file to upload."))
    if (file.size or 0) > MOST_BYTES:
        raise ProblemError(413, _too_large())
    name = file.filename.replace("\0", "").encode("utf-8", "replace").decode()
    segment = str(form.get("segment", "")).replace("\0", "").strip() or None

    def keep() -> int:
        return uploaded_import.store(site.engine, name, _parts(file), who=found.who, segment=segment)

    id_ = await run_sync(keep)
    await file.close()
    return redirect(request, f"{HERE}/{id_}{_kept(str(form.get('back', '')))}")


def _kept(back: str) -> str:
    """Return what is added to an address so that the review of a draft stays known, which asked for the contacts."""
    back = draft_choice.review(back)
    return f"?{urlencode({'back': back})}" if back else ""


def _parts(file: UploadFile) -> Iterator[bytes]:
    file.file.seek(0)
    while part := file.file.read(PART_BYTES):
        yield part


@router.get(f"{HERE}/{{id_}}")
def show(request: Request, site: SiteOf, id_: int) -> Response:
    """What would become of a file, how far its import is, or what it did."""
    with site.engine.connect() as conn:
        stored = _found(conn, id_)
        died = stored.state == "running" and not imports.is_held(conn, id_)
        if died:
            # Unless it ended just now.
            stored = _found(conn, id_)
            died = stored.state == "running"
        # One process imports one file after the other.
        others = imports.latest(conn, LISTED) if stored.state == "running" and not stored.read_bytes else []
        waits = any(each.state == "running" and each.read_bytes for each in others)
        awaiting = list((stored.result or {}).get("awaiting_update") or ())
        names = {row.key: row.name for row in campaigns.listing(conn)} if awaiting else {}
        segment = segments.find(conn, stored.segment) if stored.segment else None
    if stored.state == "uploaded":
        return _preview(request, site, stored, back=request.query_params.get("back", ""))
    back = draft_choice.review(request.query_params.get("back", ""))
    part = request.headers.get("hx-target") == "progress"
    return render(
        request,
        "contacts/import_progress.html" if part else "contacts/import_done.html",
        stored=stored,
        result=stored.result or {},
        percent=min(100, round(100 * stored.read_bytes / stored.size)) if stored.size else 0,
        died=died,
        waits=waits,
        own=f"{HERE}/{id_}",
        back=back,
        kept=_kept(back),
        segment_name=stored.segment if segment is None else segment.name,
        awaiting=labels.listed([names.get(key, key) for key in awaiting]),
        notes=[_for_pages(note) for note in (stored.result or {}).get("notes", [])],
        error=_for_pages((stored.result or {}).get("error", "")),
    )


@router.post(f"{HERE}/{{id_}}")
def choose(request: Request, site: SiteOf, id_: int, form: FormOf) -> Response:
    """Keep how a file is to be read; then show what that makes of it, or import it."""
    options: dict[str, Any] = dict(
        uploaded_import.choices(form.all("column"), form.all("target"), form.all("own_field"))
    )
    for name, known in (
        ("encoding", [codec for codec, _label in ENCODINGS]),
        ("delimiter", [sign for sign, _label in DELIMITERS]),
        ("dates", [order for order, _label in DATES]),
        ("decimal", [sign for sign, _label in DECIMALS]),
        ("same_address", [how for how, _label in SAME_ADDRESS]),
    ):
        if form.text(name) in known:
            options[name] = form.text(name)
    segment = form.text("segment").strip() or None
    new_segment = form.text("new_segment").strip()
    if len(new_segment) > KEY_LENGTH:
        with site.engine.connect() as conn:
            stored = _found(conn, id_)
        said = _("Enter at most {n} characters.", n=KEY_LENGTH)
        return _preview(request, site, stored, new_segment=new_segment, wrong_name=said, back=form.text("back"))
    with site.engine.begin() as conn:
        stored = _found(conn, id_)
        if stored.state in ("uploaded", "failed") and "again" not in form:
            if new_segment and "check" not in form:
                segment = _segment_named(conn, new_segment)
            imports.choose(conn, id_, options, segment)
        if segment is not None and segments.find(conn, segment) is None:
            raise NotFoundError("segment", segment)
        stored = _found(conn, id_)
    if "check" in form:
        return _preview(request, site, stored, new_segment=new_segment, back=form.text("back"))
    uploaded_import.begin(site.engine, site.settings, id_)
    return redirect(request, f"{HERE}/{id_}{_kept(form.text('back'))}")


@router.get(f"{HERE}/{{id_}}/rejected")
def rejected(site: SiteOf, id_: int) -> Response:
    """The rows that were rejected, each with the reason, as a file that can be corrected and uploaded again."""
    with site.engine.connect() as conn:
        form = uploaded_import.form_of(_found(conn, id_))
    if form.kind == "sheet" and reader().language == "fr":
        # As spreadsheet programs read it there.
        form = form._replace(delimiter=";")
    rows = (row._replace(reason=_for_pages(row.reason)) for row in uploaded_import.rejected(site.engine, id_))
    headers = {"Content-Disposition": f'attachment; filename="rejected-{id_}.{form.ending}"'}
    kind = "application/x-ndjson" if form.kind == "json" else "text/csv"
    lines = (line.encode("utf-8", errors="backslashreplace") for line in rejected_rows.written(form, rows))
    return StreamingResponse(lines, media_type=kind, headers=headers)


@router.get(f"{HERE}/{{id_}}/delete", dependencies=FOR_EDITORS)
def ask_delete(request: Request, site: SiteOf, id_: int) -> Response:
    """Say what deleting a file means."""
    with site.engine.connect() as conn:
        stored = _found(conn, id_)
    if stored.state == "done":
        means = [_("The imported contacts stay. Rejected rows can no longer be downloaded.")]
    else:
        means = [_("Nothing of it is imported, and what was chosen for its columns is lost.")]
    return ask_for_good(
        request,
        f"{HERE}/{id_}",
        "delete",
        question=_("Delete the file “{name}”?", name=stored.name),
        consequences=[*means, _("This cannot be undone.")],
        label=_("Delete"),
    )


@router.post(f"{HERE}/{{id_}}/delete")
def delete(request: Request, site: SiteOf, id_: int) -> Response:
    """Forget a file, and what was rejected of it."""
    with site.engine.begin() as conn:
        imports.delete(conn, id_)
    return redirect(request, HERE, flash=_("The file was deleted."))


def _found(conn: Connection, id_: int) -> StoredImport:
    found = imports.find(conn, id_) if 0 < id_ < 2**31 else None
    if found is None:
        raise NotFoundError("import", str(id_))
    return found


def _ask(request: Request, site: Any, error: str | None = None) -> Response:
    with site.engine.connect() as conn:
        latest = imports.latest(conn, LISTED)
        known = segments.titles(conn)
    return render(
        request,
        "contacts/import.html",
        400 if error else 200,
        latest=latest,
        choices=_segment_choices(known),
        segment=request.query_params.get("segment", ""),
        back=draft_choice.review(request.query_params.get("back", "")),
        most=number(MOST_BYTES // 1_000_000),
        error=error,
        here=HERE,
    )


def _segment_choices(known: Mapping[str, str]) -> list[tuple[str, str]]:
    return [("", _("No segment")), *known.items()]


def _segment_named(conn: Connection, name: str) -> str:
    """Return the key of the segment that a name makes, which is created unless there is one."""
    key = slug(name)
    if not key:
        # A name of other letters than ours.
        key = fresh_key("segment", set(segments.titles(conn)))
    if segments.find(conn, key) is None:
        segments.save(conn, key, name=name, public=True, published=True)
    return key


def _preview(
    request: Request,
    site: Any,
    stored: StoredImport,
    *,
    new_segment: str = "",
    wrong_name: str | None = None,
    back: str = "",
) -> Response:
    look, error = FileLook([]), None
    try:
        look = uploaded_import.look(site.engine, stored)
    except CampaignError as problem:
        error = _for_pages(str(problem))
    with site.engine.connect() as conn:
        known = segments.titles(conn)
    heads = list(dict.fromkeys(name for row in look.first for name in row))
    # Those that mean something first; in their order where all are shown.
    several = look.columns if len(look.columns) <= MOST_COLUMNS else sorted(look.columns, key=_is_plain)[:MOST_COLUMNS]
    return render(
        request,
        "contacts/import_preview.html",
        400 if wrong_name else 200,
        stored=stored,
        back=draft_choice.review(back),
        new_segment=new_segment,
        wrong_name=[wrong_name] if wrong_name else [],
        look=look,
        columns=several,
        hidden=len(look.columns) - len(several),
        heads=heads[:MOST_HEADS],
        error=error,
        nobody=not error and not any(each.target in ("key", "email") and each.role == "own" for each in look.columns),
        targets=[(name, field_name(name)) for name in (*OWN, *OFTEN)],
        target_of=_target_of,
        meaning_of=_meaning_of,
        sample_of=lambda column: _sample_of(column, look),
        reason_of=_for_pages,
        notes=[_for_pages(note) for note in look.notes[:MOST_NOTES]],
        options=stored.options,
        reads_otherwise=any(stored.options.get(name) for name in ("encoding", "delimiter", "dates", "decimal")),
        encodings=ENCODINGS,
        delimiters=DELIMITERS,
        dates=DATES,
        decimals=DECIMALS,
        same_address=SAME_ADDRESS,
        choices=_segment_choices(known),
        own=f"{HERE}/{stored.id}",
        here=HERE,
    )


def _is_plain(column: FileColumn) -> bool:
    """Return whether a column becomes a field, as nobody said anything else."""
    return column.role == "field" and not column.given


def _target_of(column: FileColumn) -> str:
    """Return what is chosen for a column: what a person said, or `auto`."""
    if not column.given:
        return "auto"
    if column.role == "refusal":
        return f"dnc:{column.refusal.channels[0]}" if column.refusal else "auto"
    if column.role == "ignored":
        return "ignore"
    return column.target if column.target in (*OWN, *OFTEN) else "field"


def _meaning_of(column: FileColumn) -> str:
    """Return what a column is imported as, in words."""
    if column.role not in ("own", "field"):
        return told(column.words)
    said = field_name(column.target)
    return _("{field}; also “do not contact” where it says unsubscribed", field=said) if column.is_status else said


def _sample_of(column: FileColumn, look: FileLook) -> str:
    """Return what stands in the first row that has something in the column."""
    values = (row.get(column.target) for row in look.first if column.target)
    return next((value_text(each, column.target) for each in values if each not in (None, "", [])), "")


def _for_pages(sentence: str) -> str:
    """Return a sentence of the engine with what stands on the page in place of options of the command."""
    said = told(sentence)
    for option, words in _OPTIONS.items():
        said = said.replace(option, _(words))
    return said


def _too_large() -> str:
    return _("The file is larger than {n} MB. Split it into several files.", n=number(MOST_BYTES // 1_000_000))
