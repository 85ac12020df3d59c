# om2p-bench in a container. For a CPU:
#   docker build -t om2p-bench .
#   docker run --rm -v "$PWD/results:/work/results" om2p-bench run --preset smoke
# For a GPU (the host needs the NVIDIA container toolkit):
#   docker build -t om2p-bench:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm --gpus all -v "$PWD/results:/work/results" om2p-bench:cuda doctor --device cuda
ARG BASE=ubuntu:24.04
FROM ${BASE}

# A C compiler builds the kernels at the first run; EGL lets MuJoCo draw without a display.
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3 python3-venv gcc libc6-dev libegl1 libgl1 \
    && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/om2p-bench \
    && /opt/om2p-bench/bin/pip install --no-cache-dir "torch>=2.6" --index-url "${TORCH_INDEX}"

COPY pyproject.toml README.md LICENSE /src/
COPY bench /src/bench
COPY algorithms /src/algorithms
COPY datasets /src/datasets
COPY reports /src/reports
RUN /opt/om2p-bench/bin/pip install --no-cache-dir "/src[render,export]"

# Recorded data and built kernels; mount a volume to keep them between containers.
ENV OM2P_BENCH_DATA=/data XDG_CACHE_HOME=/data/cache MUJOCO_GL=egl OMP_NUM_THREADS=1
RUN mkdir -p /data /work && chmod 777 /data /work
VOLUME /data
WORKDIR /work
ENTRYPOINT ["/opt/om2p-bench/bin/om2p-bench"]
CMD ["--help"]
