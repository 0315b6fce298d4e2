# Two images from one file: `serve` answers queries (no TensorFlow), `job` trains and builds releases.
#   docker-compose --profile job build
# Dependencies are a layer of their own: a change of code rebuilds in seconds.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS serve-packages
COPY requirements/serve.txt /tmp/requirements.txt
# A virtual environment without pip. Of OpenVINO only what reads SavedModels and runs them on a
# processor stays: the rest would add 120 MB. In its place come compiled modules: it starts in half
# the time.
RUN python3 -m venv --without-pip /opt/artkin \
    && python3 -m pip --python /opt/artkin/bin/python install --no-compile --no-cache-dir \
        --disable-pip-version-check --require-hashes --requirement /tmp/requirements.txt \
    && cd /opt/artkin/lib/python3*/site-packages \
    && find openvino/libs \( -name '*intel_gpu*' -o -name '*intel_npu*' -o -name 'cache.json' \
        -o -name '*_frontend.so*' ! -name '*tensorflow_frontend*' ! -name '*ir_frontend*' \) -delete \
    && find . -name tests -type d -prune -exec rm -r {} + \
    && rm -r openvino/include \
    && python3 -m compileall -q -x pygments --invalidation-mode unchecked-hash .

FROM ${BASE} AS job-packages
# job.txt, or gpu.txt with CUDA's libraries beside TensorFlow
ARG REQUIREMENTS=job.txt
COPY requirements/${REQUIREMENTS} /tmp/requirements.txt
RUN python3 -m venv --without-pip /opt/artkin \
    && python3 -m pip --python /opt/artkin/bin/python install --no-compile --no-cache-dir \
        --disable-pip-version-check --require-hashes --requirement /tmp/requirements.txt

# What both have: folders of volumes with the owner that a new volume takes over, no root. Started
# in /artkin, the README's commands have their paths.
FROM ${BASE} AS base
ENV PATH=/opt/artkin/bin:$PATH PYTHONPATH=/srv/artkin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN mkdir -p /artkin/models /artkin/releases /artkin/runs /artkin/state /backup \
        /run/secrets /run/monitoring \
    && chown -R 10001:10001 /artkin /backup /run/secrets /run/monitoring
WORKDIR /artkin
ENTRYPOINT ["python", "/srv/artkin/artkin.py"]

FROM base AS serve
ENV ARTKIN_HOST=0.0.0.0
COPY --from=serve-packages /opt/artkin /opt/artkin
COPY artkin.py /srv/artkin/
COPY index /srv/artkin/index
COPY app /srv/artkin/app
RUN python -m compileall -q --invalidation-mode unchecked-hash /srv/artkin
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["serve"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="artkin: serve" \
    org.opencontainers.image.description="Answers which works of a collection are most like a picture" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

FROM base AS job
COPY --from=job-packages /opt/artkin /opt/artkin
COPY artkin.py /srv/artkin/
COPY index /srv/artkin/index
COPY app /srv/artkin/app
COPY training /srv/artkin/training
USER 10001:10001
CMD ["--help"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="artkin: job" \
    org.opencontainers.image.description="Trains models, builds releases of a collection" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
