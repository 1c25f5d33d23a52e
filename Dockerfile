# docker build -t detaux .                                           with Ray and W&B: one machine, and Kubernetes
# docker build -t detaux:gpu --build-arg EXTRAS=gpu,sweep,wandb .    also RAPIDS: clustering on NVIDIA GPUs
# docker build -t detaux:cpu --build-arg TORCH_INDEX=URL .           smaller; URL is an index of torch's CPU wheels
#
# Try it with `docker run detaux doctor`; add --gpus all on NVIDIA GPUs. The wheels bring the CUDA libraries and the
# host brings the driver, so one small base image serves all. It is for amd64: hdbscan has no wheel for arm64, so the
# first stage would need a compiler there.
#
# Triton needs a C compiler at first use to build its driver. Without one, losses.backend=auto takes plain PyTorch on a
# GPU too. For the fused kernels add --build-arg COMPILER=1.

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
ARG EXTRAS=sweep,wandb
RUN /opt/detaux/bin/pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}" && /opt/detaux/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
ARG COMPILER
# KubeRay checks the health of a Ray node with wget
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget=1.21.* ${COMPILER:+gcc=4:12.* libc6-dev=2.36-*} \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 detaux
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
