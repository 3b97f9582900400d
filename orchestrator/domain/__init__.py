"""The pure core: no SQL, HTTP, Celery, subprocess, environment or clock."""
