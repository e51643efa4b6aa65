# dsrg with the CPU build of PyTorch:
#     docker build -t dsrg .
#     docker run --rm --shm-size=2g -v "$PWD:/work" dsrg prepare-data --photos photos --root data/mine
# For a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 -t dsrg . and docker run --gpus all …
FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml setup.py setup.cfg README.md LICENSE ./
COPY configs configs
COPY dsrg dsrg
RUN python -m venv /opt/dsrg \
    && /opt/dsrg/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
    && /opt/dsrg/bin/pip install --no-cache-dir '.[app,export,heic,saliency,timm]'

FROM python:3.12-slim
COPY --from=build /opt/dsrg /opt/dsrg
ENV PATH=/opt/dsrg/bin:$PATH HOME=/tmp
WORKDIR /work
# Not root, so that what is written into a mounted folder is not root's: add --user "$(id -u):$(id -g)" where yours is not 1000.
USER 1000:1000
ENTRYPOINT ["dsrg"]
CMD ["--help"]
