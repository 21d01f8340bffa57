# Moraine's image with a container engine: `docker build --tag moraine .`
# `cargo xtask image` makes the same root without one; docs/image.md says what is in it.

# The tools and the C library are packages of this stage's Debian, for which the programs are linked.
FROM rust:1.95-bookworm AS build
WORKDIR /moraine
COPY . .
RUN cargo xtask image --rootfs /out

FROM scratch
COPY --from=build /out/ /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL org.opencontainers.image.title="Moraine" \
      org.opencontainers.image.description="Replicated block storage for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
# No entry point: the image holds three programs, and the chart names one of them as `command`.
