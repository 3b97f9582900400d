# The orchestrator for compose.yaml. It holds git and no agent CLI: build on it for the agents you use.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git \
    && rm -rf /var/lib/apt/lists/*

# A fixed number, so that a volume keeps its owner over rebuilds.
RUN useradd --uid 10001 --create-home orchestrator \
    && install -d -o orchestrator -g orchestrator -m 0700 /data

WORKDIR /app
COPY pyproject.toml setup.cfg README.md beat_schedule.py celeryconfig.py ./
COPY orchestrator orchestrator
COPY tasks tasks
COPY web web
RUN pip install --no-cache-dir .

USER orchestrator
# Away from the sources: what runs is what was installed.
WORKDIR /data
ENV ORCH_DATA_DIR=/data \
    ORCH_CONFIG=/etc/orchestrator/orchestrator.yml \
    ORCH_ENV=production \
    PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m"]
CMD ["orchestrator.cli", "--help"]
