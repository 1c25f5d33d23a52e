# docker build -t detaux .                                 runs on CPUs
# docker build -t detaux:cuda --build-arg VARIANT=cuda .   runs on NVIDIA GPUs: docker run --gpus all ...
#
# The CUDA libraries come with torch's wheels and the driver with the host, so both variants share one small base.

ARG PYTHON_IMAGE=python:3.13.5-slim-bookworm
ARG VARIANT=cpu
ARG TORCH_VERSION=2.14.1
ARG TORCHVISION_VERSION=0.29.1

FROM ${PYTHON_IMAGE} AS torch-cpu
ARG TORCH_VERSION
ARG TORCHVISION_VERSION
RUN python -m venv /opt/detaux \
    && /opt/detaux/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu \
    "torch==$TORCH_VERSION" "torchvision==$TORCHVISION_VERSION"

FROM ${PYTHON_IMAGE} AS torch-cuda
ARG TORCH_VERSION
ARG TORCHVISION_VERSION
RUN python -m venv /opt/detaux \
    && /opt/detaux/bin/pip install --no-cache-dir "torch==$TORCH_VERSION" "torchvision==$TORCHVISION_VERSION"

# hadolint ignore=DL3006
FROM torch-${VARIANT} AS build
WORKDIR /source
COPY . .
RUN /opt/detaux/bin/pip install --no-cache-dir . && /opt/detaux/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
RUN useradd --create-home --uid 1000 detaux
COPY --from=build /opt/detaux /opt/detaux
COPY configs /home/detaux/configs
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
