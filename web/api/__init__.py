"""REST under `/api/`: JSON for programs, with the same rules as the command line and the pages.

A module is a resource with an APIRouter of its own, named in `web.api.routes`.
"""
