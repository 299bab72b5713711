#!/usr/bin/env bash
# Prints Debian's package index of the main suite, as apt has it on this machine, decompressed.
# Runs `apt-get update` if apt has none. Says on stderr what it does.
set -euo pipefail

main() {
    local index
    index=$(find_index)
    if [ -z "$index" ]; then
        command -v apt-get >/dev/null || fail 'this needs apt: no package index to read here.'
        printf 'No package index yet: running apt-get update.\n' >&2
        apt-get update >/dev/null 2>&1 || fail 'apt-get update failed; it needs root and a mirror.'
        index=$(find_index)
    fi
    [ -n "$index" ] || fail 'apt has no package index, even after an update.'
    printf 'Package index: %s\n' "$(basename "$index" | sed 's/.*_dists_//')" >&2
    # apt keeps the lists compressed or not, as it was configured; its helper reads them all.
    /usr/lib/apt/apt-helper cat-file "$index"
}

# The largest index that apt has: the main suite, not its updates. Empty if there is none.
find_index() {
    command -v apt-get >/dev/null || return 0
    apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' 2>/dev/null |
        while IFS= read -r file; do
            # apt names the file without or with the suffix of its compression.
            for candidate in "$file" "$file".lz4 "$file".gz "$file".xz "$file".zst; do
                if [ -s "$candidate" ]; then
                    printf '%s %s\n' "$(stat -c %s "$candidate")" "$candidate"
                    break
                fi
            done
        done | sort -rn | head -n 1 | cut -d ' ' -f 2-
}

fail() {
    printf 'fetch-index.sh: %s\n' "$*" >&2
    exit 1
}

main
