"""HTTP: health now; event and form ingest, tracking, API and pages as they arrive."""
