"""HTTP: events, health and metrics; forms, tracking, API and pages as they arrive."""
