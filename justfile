# The commands of a developer; `just` lists them.

default:
    @just --list

# Format, lints and tests, as continuous integration runs them
check:
    .ci/run

# Format the code
fmt:
    cargo fmt

# Lints, in the profile of the tests
lint:
    cargo clippy --release --all-targets -- -D warnings

# The tests
test:
    cargo test --release

# The workbench
run:
    cargo run --release

# The bundled demo on the CPU
demo:
    cargo run --release -- train demo --device cpu

# Build with CUDA on a machine that has neither GPU nor toolkit
cuda:
    scripts/cuda-build.sh

# Licences and advisories of the dependencies
deny:
    cargo deny check
