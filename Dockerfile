# Two stages: the first installs what is locked and compiles the kernels, the second only runs them.
#
# BASE is any image with Python 3.11 or newer and its venv module. The default is the official slim image; tools/image.py makes one from
# Debian packages where no registry can be reached.
ARG BASE=python:3.12-slim

# ---------------------------------------------------------------------------------------------------------------------- build
FROM ${BASE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python3 -m venv /opt/sentinel /opt/tools

# Exactly what is locked, every file by its hash, nothing built from source. It changes less often than the code.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN /opt/sentinel/bin/python -m pip install --quiet --only-binary :all: --require-hashes -r requirements/runtime.txt \
    && /opt/tools/bin/python -m pip install --quiet --only-binary :all: --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY sentinel sentinel
RUN /opt/tools/bin/python -m hatchling build --target wheel \
    && /opt/sentinel/bin/python -m pip install --quiet --no-deps --no-index dist/*.whl \
    && /opt/sentinel/bin/python -m pip uninstall --quiet --yes pip setuptools \
    && find /opt/sentinel -name tests -type d -path '*/site-packages/*/tests' -prune -exec rm -rf {} + \
    && /opt/sentinel/bin/python -m compileall -q -j 0 /opt/sentinel/lib

# Compiled here for this machine's processor. On another one the first start compiles for its own, for some seconds.
RUN NUMBA_CACHE_DIR=/opt/sentinel/kernels /opt/sentinel/bin/python -c \
    'from sentinel.pipeline.warm import compile_kernels; compile_kernels()'

# ------------------------------------------------------------------------------------------------------------------------ run
FROM ${BASE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llm-sentinel" \
      org.opencontainers.image.description="Watches LLM applications and tells people when something goes wrong." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number, so that an orchestrator can tell that it is not root.
RUN mkdir -m 0700 /var/lib/sentinel && chown 10001:10001 /var/lib/sentinel
COPY --from=build /opt/sentinel /opt/sentinel

# The root may be read-only: nothing is written but the state directory.
ENV PATH=/opt/sentinel/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/sentinel \
    STATE_DIRECTORY=/var/lib/sentinel \
    SENTINEL_KERNELS=/opt/sentinel/kernels
USER 10001:10001
WORKDIR /var/lib/sentinel
VOLUME /var/lib/sentinel
EXPOSE 8080
STOPSIGNAL SIGTERM

# Liveness, because whoever acts on it restarts the container: it is unhealthy only when that would help.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-I", "-S", "-c", \
  "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["sentinel"]
CMD ["run"]
