# One image per service: libs and that service alone, under an account without rights.
#   docker build --build-arg SERVICE=account --tag updspace-id-account:1.0.0 .
#   docker build --build-arg SERVICE=gateway --build-arg FOLDER=gateway --tag updspace-id-gateway:1.0.0 .
# To hold the base to its very bytes, name it with the digest (@sha256:…) that `docker buildx imagetools inspect
# python:3.11.14-slim-bookworm` prints, here or by --build-arg PYTHON_IMAGE.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG SERVICE
ARG FOLDER=services/${SERVICE}
WORKDIR /app
COPY ${FOLDER}/requirements.txt /tmp/requirements.txt
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/requirements.txt
COPY pyproject.toml gunicorn.conf.py ./
COPY libs libs
COPY ${FOLDER} ${FOLDER}
# Catalogues are compiled here, since their compiled form is in no commit.
RUN find . -name messages.po -execdir /venv/bin/pybabel --quiet compile --input-file messages.po --output-file messages.mo ';' \
    && python -m compileall -q libs "${FOLDER}"

FROM ${PYTHON_IMAGE}
ARG SERVICE
ARG COMMIT=
LABEL org.opencontainers.image.title="updspace-id-${SERVICE}"
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ID_COMMIT=${COMMIT}
# psql, for `dbshell`. Its version is that of the base image's Debian.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin id \
    && install --directory --owner=id --group=id --mode=0700 /var/lib/updspace-id
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
USER 10001
# What runs is said where it is deployed: gunicorn, celery or flask (docker-compose.yml, k8s/).
CMD ["flask", "--help"]
