# Two images from one file: `serve` answers queries (no TensorFlow), `job` trains and builds releases.
#   docker build --target serve -t artkin-serve .
#   docker build --target job   -t artkin-job .
# Dependencies are a layer of their own: a change of code rebuilds in seconds.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS serve-packages
COPY requirements/serve.txt /tmp/requirements.txt
# A virtual environment without pip. Of OpenVINO's plugins only the processor's is used; the GPU's
# and the NPU's would add 100 MB.
RUN python3 -m venv --without-pip /opt/artkin \
    && python3 -m pip --python /opt/artkin/bin/python install --no-compile --no-cache-dir \
        --disable-pip-version-check --require-hashes --requirement /tmp/requirements.txt \
    && find /opt/artkin -path '*openvino/libs/*' \
        \( -name '*intel_gpu*' -o -name '*intel_npu*' -o -name 'cache.json' \) -delete

FROM ${BASE} AS job-packages
COPY requirements/job.txt /tmp/requirements.txt
RUN python3 -m venv --without-pip /opt/artkin \
    && python3 -m pip --python /opt/artkin/bin/python install --no-compile --no-cache-dir \
        --disable-pip-version-check --require-hashes --requirement /tmp/requirements.txt

FROM ${BASE} AS serve
ENV PATH=/opt/artkin/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ARTKIN_HOST=0.0.0.0 ARTKIN_RELEASES=/data/releases ARTKIN_STATE=/state
RUN mkdir -p /data /state && chown 10001:10001 /data /state
COPY --from=serve-packages /opt/artkin /opt/artkin
WORKDIR /srv/artkin
COPY artkin.py ./
COPY index ./index
COPY app ./app
USER 10001:10001
EXPOSE 8000
VOLUME ["/data", "/state"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["python", "artkin.py"]
CMD ["serve"]

FROM ${BASE} AS job
ENV PATH=/opt/artkin/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN mkdir -p /data /state && chown 10001:10001 /data /state
COPY --from=job-packages /opt/artkin /opt/artkin
WORKDIR /srv/artkin
COPY artkin.py ./
COPY index ./index
COPY app ./app
COPY training ./training
USER 10001:10001
VOLUME ["/data", "/state"]
ENTRYPOINT ["python", "artkin.py"]
CMD ["--help"]
