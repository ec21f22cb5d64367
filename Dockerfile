# autorun for AWS, as a user without root rights. It has no local cloud.
#
#     docker build -t autorun .
#     docker run --rm -it -v ~/.aws:/home/autorun/.aws:ro \
#         -v autorun:/home/autorun/.local/share/autorun -v "$PWD":/work autorun web.rhai
#
# `--build-arg PROGRAM=built` takes a program that is already built, as
# ./autorun in the build context, instead of compiling one. Build it on
# RUNTIME's system or an older one.
ARG BUILDER=docker.io/library/rust:1.95-bookworm
ARG RUNTIME=docker.io/library/debian:12-slim
ARG PROGRAM=compiled

FROM ${BUILDER} AS compiled
WORKDIR /src
COPY . .
RUN cargo build --locked --release --no-default-features --features vendored \
    && cp target/release/autorun /autorun

FROM scratch AS built
COPY autorun /autorun

# Some versions of Docker accept no variable in `COPY --from`.
FROM ${PROGRAM} AS program

FROM ${RUNTIME}
# ca-certificates: TLS to AWS. openssh-client: `autorun ssh`.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates openssh-client \
    && rm -rf /var/lib/apt/lists/*
# 1000 is the first user of most systems, whose ~/.aws is mounted here. For
# another user: --build-arg UID="$(id -u)". A new volume has the owner of the
# directory in the image.
ARG UID=1000
RUN useradd --uid "${UID}" --create-home --shell /usr/sbin/nologin autorun \
    && install -d -o autorun -g autorun -m 700 \
        /home/autorun/.aws /home/autorun/.local /home/autorun/.local/share \
        /home/autorun/.local/share/autorun \
    && install -d -o autorun -g autorun /work
COPY --from=program /autorun /usr/local/bin/autorun
COPY playbooks /usr/share/autorun/playbooks
COPY userdata /usr/share/autorun/userdata
COPY assets /usr/share/autorun/assets
USER autorun
WORKDIR /work
VOLUME ["/home/autorun/.local/share/autorun"]
ENTRYPOINT ["autorun"]
