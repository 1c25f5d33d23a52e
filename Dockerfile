# docker build -t detaux .
# docker run detaux doctor                                 runs on CPUs
# docker run --gpus all detaux doctor                      runs on NVIDIA GPUs
#
# The CUDA libraries come with torch's wheels and the driver with the host, so one small base serves both. For a smaller
# CPU image give an index of CPU-only torch wheels: --build-arg TORCH_INDEX=URL. For amd64: hdbscan has no
# wheel for arm64, where the first stage would need a compiler.

ARG PYTHON_IMAGE=python:3.13.5-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_VERSION=2.15.0
ARG TORCHVISION_VERSION=0.29.2
ARG TORCH_INDEX
RUN python -m venv /opt/detaux \
    && /opt/detaux/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    "torch==$TORCH_VERSION" "torchvision==$TORCHVISION_VERSION"
WORKDIR /source
COPY . .
RUN /opt/detaux/bin/pip install --no-cache-dir . && /opt/detaux/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
RUN useradd --create-home --uid 1000 detaux
COPY --from=build /opt/detaux /opt/detaux
COPY configs /home/detaux/configs
COPY launch /home/detaux/launch
ENV PATH=/opt/detaux/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /home/detaux
RUN mkdir runs
VOLUME /home/detaux/runs
ENTRYPOINT ["detaux"]
CMD ["--help"]
RUN ["detaux", "doctor"]
