#!/usr/bin/env bash
# Builds actors as core modules, which `stockade deploy` makes components of, and prints the path of
# each .wasm, one per line.
#
#   build-guest.sh NAME...      packages of this workspace, for example: counter ledger
#
# GUEST_TARGET_DIR names the folder for build results; by default target/guest in the repository.
# Everything but the paths goes to stderr.
set -euo pipefail

readonly target=wasm32-wasip1
readonly toolchain=stockade-guest

main() {
    [ $# -gt 0 ] || fail 'usage: build-guest.sh NAME...'
    local root folder name
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    folder=${GUEST_TARGET_DIR:-$root/target/guest}
    case $folder in /*) ;; *) folder=$PWD/$folder ;; esac

    choose_toolchain

    local packages=()
    for name in "$@"; do
        packages+=(-p "$name")
    done
    # Settings for the host's own build must not reach the guest's.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
    (cd "$root" && cargo build --locked --profile guest --target "$target" \
        --target-dir "$folder" "${packages[@]}") >&2

    for name in "$@"; do
        local built=$folder/$target/guest/${name//-/_}.wasm
        [ -f "$built" ] || fail "$name was built, but there is no $built"
        printf '%s\n' "$built"
    done
}

# The active toolchain if it has the target, else the one that install.sh made.
choose_toolchain() {
    local libraries
    if libraries=$(rustc --print target-libdir --target "$target" 2>/dev/null) &&
        compgen -G "$libraries/libstd-*.rlib" >/dev/null; then
        return
    fi
    if compgen -G "/usr/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null &&
        rustup run "$toolchain" rustc -V >/dev/null 2>&1; then
        export RUSTUP_TOOLCHAIN=$toolchain
        return
    fi
    fail "there is no library for $target: run guest-sdk/toolchain/install.sh."
}

fail() {
    printf 'build-guest.sh: %s\n' "$*" >&2
    exit 1
}

main "$@"
