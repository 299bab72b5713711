#!/usr/bin/env bash
# Installs what building actors needs: the target wasm32-wasip1. `cargo build` for it makes a core
# module, which `stockade deploy` takes. With cargo-component, `cargo component build` makes a
# component of it.
#
# Run it as often as you like: what is there is skipped. The target comes from rustup where rustup
# can fetch it; else, on Debian 12 as root, from Debian's own Rust, as the rustup toolchain
# `stockade-guest`. Building through `build-guest.sh` picks the right one.
#
#   install.sh                    install what is missing
#   install.sh --cargo-component  cargo-component as well
#   install.sh --check            say what is missing, install nothing; fails if the target is
#   install.sh --debian           use Debian's Rust even if rustup has the target (to test that way)
set -euo pipefail

readonly component_version=0.21.1
readonly target=wasm32-wasip1
readonly toolchain=stockade-guest
readonly debian_packages=(rustc-web cargo-web rust-web-src lld-22 wasi-libc)
readonly rustlib=/usr/lib/rustlib
readonly host_linker=$rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
readonly wasi_objects=/usr/lib/wasm32-wasi
# Says which compiler the installed library was built by, so that an update rebuilds it.
readonly stamp=$rustlib/$target/built-by

main() {
    local mode=install
    case "${1:-}" in
    '') ;;
    --check) mode=check ;;
    --debian) mode=debian ;;
    --cargo-component) mode=component ;;
    *) fail "unknown option '$1'. Options: --cargo-component, --check, --debian." ;;
    esac

    command -v rustup >/dev/null || fail 'rustup is missing. Install Rust with rustup first.'
    if [ $mode = check ]; then
        check
        return
    fi
    if [ $mode = debian ]; then
        install_target_from_debian
    else
        install_target
    fi
    [ $mode != component ] || install_component
    say 'Ready: build an actor with guest-sdk/toolchain/build-guest.sh NAME.'
}

check() {
    local missing=0
    if has_ordinary_target; then
        say "Target $target: there, in the active toolchain."
    elif has_debian_target; then
        say "Target $target: there, in the toolchain $toolchain."
    else
        say "Target $target: missing."
        missing=1
    fi
    if has_component; then
        say "cargo-component $component_version: there."
    else
        say "cargo-component $component_version: missing; install.sh --cargo-component."
    fi
    [ $missing = 0 ] || fail 'Run guest-sdk/toolchain/install.sh.'
}

install_target() {
    if has_ordinary_target; then
        say "Target $target: there, in the active toolchain."
        return
    fi
    if has_debian_target; then
        say "Target $target: there, in the toolchain $toolchain."
        return
    fi
    say "Target $target: asking rustup for it."
    # Its output goes to a file: on failure it would name the server, which is of no use here.
    if rustup target add "$target" >/dev/null 2>&1 && has_ordinary_target; then
        say "Target $target: installed, in the active toolchain."
        return
    fi
    say 'rustup could not fetch it; building it from the Rust of Debian instead.'
    install_target_from_debian
}

# Debian's compiler has no library for the target, but its sources, and an LLVM that knows wasm.
install_target_from_debian() {
    if has_debian_target; then
        say "Target $target: there, in the toolchain $toolchain."
        return
    fi
    is_debian_12 || fail "This machine is not Debian 12 on x86-64: install the target yourself,
with 'rustup target add $target' or the packages of your system, then run this again."
    [ "$(id -u)" = 0 ] || fail 'Installing packages of Debian needs root: run this as root.'

    install_packages
    link_toolchain
    build_library
    has_debian_target || fail 'The library was built, but the compiler does not find it.'
    say "Target $target: installed, in the toolchain $toolchain."
}

install_packages() {
    local missing=() package
    for package in "${debian_packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then
        say "Packages: there (${debian_packages[*]})."
        return
    fi
    say "Packages: installing ${missing[*]}."
    quietly apt-get update
    quietly env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"
}

link_toolchain() {
    if rustup run "$toolchain" rustc -V >/dev/null 2>&1; then
        say "Toolchain $toolchain: there."
    else
        say "Toolchain $toolchain: linking it to /usr."
        quietly rustup toolchain link "$toolchain" /usr
    fi
    # The compiler looks for the linker beside its own libraries.
    if [ ! -e "$host_linker" ]; then
        mkdir -p "$(dirname "$host_linker")"
        ln -sf /usr/bin/lld-22 "$host_linker"
    fi
}

build_library() {
    say "Library of $target: building it, about two minutes."
    local work into
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # expanded now: the variable is gone when the trap runs
    trap "rm -rf '$work'" EXIT
    into=$rustlib/$target/lib

    mkdir -p "$work/src"
    : >"$work/src/lib.rs"
    cat >"$work/Cargo.toml" <<'EOF'
[package]
name = "empty"
version = "0.0.0"
edition = "2021"

[workspace]

[profile.release]
panic = "abort"
EOF
    # Without bitcode in the library, actors could not use LTO. Settings of the caller's own build
    # are kept out.
    (
        cd "$work"
        unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
        quietly env RUSTC_BOOTSTRAP=1 RUSTUP_TOOLCHAIN="$toolchain" \
            CARGO_TARGET_DIR="$work/target" \
            CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS=-Cembed-bitcode=yes \
            cargo build -Zbuild-std=std,panic_abort --target "$target" --release
    )

    # Two libraries side by side would be ambiguous to the compiler.
    rm -rf "$into"
    mkdir -p "$into/self-contained"
    local library
    for library in "$work/target/$target/release/deps/"*.rlib; do
        case "$(basename "$library")" in
        libempty-*) ;;
        *) install -m 644 "$library" "$into/" ;;
        esac
    done
    install -m 644 "$wasi_objects/crt1-command.o" "$wasi_objects/crt1-reactor.o" \
        "$wasi_objects/libc.a" "$into/self-contained/"
    debian_compiler >"$stamp"
    say "Library of $target: built. Actors that were built before need 'cargo clean'."
}

install_component() {
    if has_component; then
        say "cargo-component $component_version: there."
        return
    fi
    say "cargo-component $component_version: building it, several minutes."
    quietly cargo install --locked "cargo-component@$component_version"
    has_component || fail 'cargo-component was built, but is not on the PATH.
Add ~/.cargo/bin to it.'
    say "cargo-component $component_version: installed."
}

has_ordinary_target() {
    local libraries
    libraries=$(rustc --print target-libdir --target "$target" 2>/dev/null) &&
        compgen -G "$libraries/libstd-*.rlib" >/dev/null
}

has_debian_target() {
    [ -e "$host_linker" ] &&
        compgen -G "$rustlib/$target/lib/libstd-*.rlib" >/dev/null &&
        [ -e "$rustlib/$target/lib/self-contained/libc.a" ] &&
        [ "$(cat "$stamp" 2>/dev/null)" = "$(debian_compiler)" ]
}

debian_compiler() {
    rustup run "$toolchain" rustc -V 2>/dev/null || true
}

has_component() {
    [ "$(cargo component --version 2>/dev/null | awk '{ print $NF }')" = "$component_version" ]
}

is_debian_12() {
    # shellcheck source=/dev/null
    [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-} ${VERSION_ID:-}" = 'debian 12' ]) &&
        [ "$(uname -m)" = x86_64 ]
}

# Runs a command and shows its output only if it fails, without addresses of servers.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    if [ $status != 0 ]; then
        tail -n 40 "$log" | sed -E 's#[a-z+]+://[^[:space:]"'"'"']*#(address)#g' >&2
    fi
    rm -f "$log"
    [ $status = 0 ] || fail "This failed: $*"
}

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

main "$@"
