#!/usr/bin/env bash
# Writes what the programs are made of: a CycloneDX 1.5 document, of the lock file's crates that they
# link on this platform.
#
#   scripts/sbom.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?the version}

cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu |
    jq --arg version "${version#v}" '
        # What is reached from the programs without what only tests and builds need.
        (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $uses
        | (.packages | map({key: .id, value: .}) | from_entries) as $package
        | def reach: . as $seen | ([$seen[] | $uses[.][]] + $seen | unique) as $more
            | if $more == $seen then $seen else $more | reach end;
        [.packages[] | select(.name | IN("banger-cli", "banger-daemon", "banger-helper", "banger-agent")) | .id]
        | unique | reach | map($package[.] | select(.source != null))
        | sort_by(.name, .version)
        | {
            bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
            metadata: {component: {type: "application", name: "banger", version: $version,
                                   licenses: [{expression: "MIT"}]}},
            components: map({
                type: "library", name, version,
                purl: "pkg:cargo/\(.name)@\(.version | gsub("[+]"; "%2B"))",
                licenses: (if .license then [{expression: (.license | gsub("/"; " OR "))}] else [] end)
            })
        }'
