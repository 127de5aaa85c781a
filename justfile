# The habits of this repository. `just` alone lists them.

_default:
    @just --list

# Everything a change must pass.
ci:
    .ci/run

# All tests, or those that a word names.
test *words:
    cargo test {{words}}

# Several containers at once, killed and put to sleep: twenty minutes (STOPOVER_TEST_SEED=N for another course of things).
zoo:
    STOPOVER_TEST_ALL=1 cargo test --test live_tree
    cargo test --test zoo -- --ignored --nocapture

# Every fault at every single request of everything that talks to the bucket (STOPOVER_TEST_ONLY=part of a case's name).
faults:
    cargo test --test faults -- --ignored --nocapture

# A test of the tests: with its rule switched off each test fails (STOPOVER_TEST_ONLY=words of rules, or test targets).
rules:
    cargo test --test rules -- --ignored --nocapture

# Images, engine and all, as root: minutes (see `just servers`).
containers: release
    STOPOVER_TEST_REQUIRE=containers,compose,moto cargo test --test containers --test examples

# The binary for arm64, under qemu-user.
arm: release-arm
    STOPOVER_TEST_REQUIRE=arm cargo test --test arm

# Format and lints, as CI holds them.
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Advisories, licences, sources (needs cargo-deny).
deny:
    cargo deny check

# The promise, kept before your eyes.
quickstart:
    cargo run --example quickstart

# The static binary: target/x86_64-unknown-linux-musl/release/stopover.
release:
    cargo build --locked --release --target x86_64-unknown-linux-musl

# The same for arm64.
release-arm:
    cargo build --locked --release --target aarch64-unknown-linux-musl

# An image of images/, with the static binary in it.
image name: release
    docker build -t stopover-{{name}} -f images/{{name}}/Dockerfile target/x86_64-unknown-linux-musl/release

# The S3 servers and engines that the slow tests talk to.
servers *parts:
    tests/support/get-servers.sh {{parts}}

# A minute of hostile bytes for one decoder: head, tree, mirror, frame or path (needs cargo-fuzz; any toolchain will do).
fuzz target seconds="60":
    mkdir -p fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run -s none {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}} -dict=fuzz/json.dict -rss_limit_mb=512 -timeout=10 -max_len=16384
