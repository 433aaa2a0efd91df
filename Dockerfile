# Two images: `api` (also scheduler and migrate) without torch, `worker` with it.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN groupadd --gid 10001 passdown \
    && useradd --uid 10001 --gid passdown --create-home passdown \
    && mkdir -p /storage /images \
    && chown passdown:passdown /storage
WORKDIR /srv/passdown
# The dependencies have a layer of their own: an edited source file installs nothing anew.
COPY pyproject.toml README.md ./
RUN mkdir app worker models && touch app/__init__.py worker/__init__.py models/__init__.py

FROM base AS api
# Options for pip, such as an index of your own.
ARG PIP_ARGS=""
RUN python -m pip install $PIP_ARGS -e .
COPY alembic.ini ./
COPY alembic alembic
COPY models models
COPY worker worker
COPY app app
USER passdown
EXPOSE 8000
CMD ["uvicorn", "--factory", "app.main:create_app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "10"]

FROM base AS worker
# torch from PyPI brings CUDA on Linux x86; for a machine without a GPU a smaller one does:
#   --build-arg TORCH="torch torchvision --index-url https://download.pytorch.org/whl/cpu"
ARG PIP_ARGS=""
ARG TORCH="torch torchvision"
RUN python -m pip install $PIP_ARGS $TORCH
RUN python -m pip install $PIP_ARGS -e '.[ml]'
COPY models models
COPY worker worker
COPY app app
USER passdown
CMD ["python", "-m", "worker.main", "--device", "auto"]
