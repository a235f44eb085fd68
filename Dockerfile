# What the README installs, in an image: docker build -t dpib . && docker run --rm dpib --help
# With a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 -t dpib:cuda .
#             docker run --rm --gpus all dpib:cuda run dpdm --dataset mnist --epsilon 1
FROM python:3.11-slim

# PyTorch's wheels: CPU unless another index is named.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# First what is large and rarely changes: a changed line of dpib does not fetch PyTorch again.
RUN pip install torch torchvision --index-url "$TORCH_INDEX"

WORKDIR /src
COPY . .
RUN pip install . && rm -rf /src

# Runs, downloads and cards of own datasets lie below /work: mount a folder that user 1000 may write.
#   docker run --rm -v "$PWD:/work" -v /path/to/mirror:/data:ro -e DPIB_DATA=/data dpib run dp-merf --dataset mnist --epsilon 1
RUN useradd --create-home --uid 1000 dpib && mkdir /work && chown dpib /work
USER dpib
WORKDIR /work
ENTRYPOINT ["dpib"]
CMD ["--help"]
