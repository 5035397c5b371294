#!/usr/bin/env bash
# Makes a release: builds the programs with its stamp, packs, hashes and signs them, checks all of it
# as those who install it will, adds it to the list of releases, and uploads it.
#
#   scripts/publish-release.sh --version vX.Y.Z --releases URL --key FILE [--out DIR]
#       [--public-key FILE --sign COMMAND] [--manifest FILE] [--upload COMMAND] [--snapshot]
#
# URL is where releases are, for `banger update` and for the installer. FILE is the private key (ECDSA
# on P-256, PEM); in its stead COMMAND, given to the shell with FILE in its environment, writes the
# signature of that file to standard output as base64 of DER, which is what
# `cosign sign-blob --yes --key K --tlog-upload=false "$FILE"` does. The list of releases is taken from
# URL, or from the file after --manifest; where there is none yet, say --manifest /dev/null.
# The upload's COMMAND is given FILE and NAME, its name beneath URL; the list comes last, so that nobody
# is told of what is not there. Without it everything is in DIR (target/releases), laid out as on the
# server.
#
# With --snapshot, for a trial, changes that are not committed are built, too.
#
# The same commit, toolchain and key make the same archive, byte for byte.
set -euo pipefail

die() {
    echo "publish-release.sh: $*" >&2
    exit 1
}

version='' releases='' key='' public='' sign='' manifest='' upload='' out=target/releases snapshot=no
while [ $# -gt 0 ]; do
    if [ "$1" = --snapshot ]; then
        snapshot=yes
        shift
        continue
    fi
    [ $# -ge 2 ] || die "\`$1\` is unknown or wants a value"
    case $1 in
        --version) version=$2 ;;
        --releases) releases=${2%/} ;;
        --key) key=$(realpath "$2") ;;
        --public-key) public=$(realpath "$2") ;;
        --sign) sign=$2 ;;
        --manifest) manifest=$(realpath "$2") ;;
        --upload) upload=$2 ;;
        --out) out=$2 ;;
        *) die "unknown option \`$1\`" ;;
    esac
    shift 2
done
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || die "--version wants vX.Y.Z, not \`$version\`"
[ -n "$releases" ] || die "--releases is missing: the address that the programs look for releases at"
if [ -n "$key" ]; then
    [ -z "$public$sign" ] || die "either --key, or --public-key and --sign"
else
    if [ -z "$public" ] || [ -z "$sign" ]; then die "--key is missing, or --public-key and --sign"; fi
fi
for program in git jq openssl tar gzip curl make; do
    command -v "$program" >/dev/null || die "\`$program\` is missing"
done

cd "$(dirname "$0")/.."
[ $snapshot = yes ] || [ -z "$(git status --porcelain)" ] ||
    die "there are changes that are not committed: a release is of a commit"
commit=$(git rev-parse HEAD)
epoch=$(git log -1 --format=%ct)
# Before anything is built, so that what is published is not written over.
if [ -n "$manifest" ]; then
    list=$(cat "$manifest")
else
    list=$(curl -fsS "$releases/manifest.json") || die "no list at $releases: is this the first release? (--manifest /dev/null)"
fi
[ -n "$list" ] || list='{"schema": 1, "releases": []}'
jq -e --arg version "$version" 'all(.releases[]; .version != $version)' <<< "$list" >/dev/null ||
    die "$version is in the list already: releases do not change"

mkdir -p "$out"
out=$(realpath "$out")
name=banger-$version-x86_64-linux
stage=$out/.stage-$version
rm -rf "$stage"
mkdir -p "$stage/build" "$stage/$name"
trap 'rm -rf "$stage"' EXIT

# The key as everybody has it.
if [ -n "$key" ]; then
    openssl ec -in "$key" -pubout -out "$stage/key.pem" 2>/dev/null || die "\`$key\` is no private key"
else
    cp "$public" "$stage/key.pem"
fi
openssl ec -pubin -in "$stage/key.pem" -noout -text 2>/dev/null | grep -q prime256v1 ||
    die "the key is none on the curve P-256 (a placeholder?): releases are signed with ECDSA P-256"
pem=$(cat "$stage/key.pem")

echo "publish-release.sh: building $version of ${commit:0:12}" >&2
BANGER_BUILD_VERSION=${version#v} BANGER_BUILD_COMMIT=$commit \
    BANGER_BUILD_TIME=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ) \
    BANGER_BUILD_RELEASES=$releases BANGER_BUILD_KEY=$pem \
    make --silent build place DESTDIR="$stage/$name" PREFIX= BIN="$stage/build/banger" \
    AGENT="$stage/build/agent" SUPERVISOR="$stage/build/supervisor" HELPER="$stage/build/helper" >&2
scripts/sbom.sh "$version" > "$stage/$name/share/doc/banger/sbom.cdx.json"

# The installer, with the same key and address.
{
    sed -n '1,/^# KEY BEGINS/p' scripts/install.sh
    printf "RELEASES='%s'\nKEY='%s'\n" "$releases" "$pem"
    sed -n '/^# KEY ENDS/,$p' scripts/install.sh
} > "$stage/install.sh"

# What updater and installer believe has to be one key, and that of this release.
said=$("$stage/$name/bin/banger" version --json)
[ "$(jq -r .version <<< "$said")" = "${version#v}" ] || die "the program says that it is another version"
[ "$(jq -r .release_key <<< "$said")" = "$pem" ] || die "the program has another key"
[ "$(bash -c 'eval "$(sed -n "/^# KEY BEGINS/,/^# KEY ENDS/p" "$0")"; echo "$KEY"' "$stage/install.sh")" = "$pem" ] ||
    die "the installer has another key"
[ "$(grep -c '^ *KEY=' "$stage/install.sh")" = 1 ] || die "the installer has more than one key"
for program in agent supervisor helper; do
    "$stage/$name/lib/banger/banger-$program" --version | grep -qF " ${version#v} (${commit:0:12}, " ||
        die "banger-$program is of another version"
done

echo "publish-release.sh: packing" >&2
mkdir -p "$out/$version"
tar --create --directory "$stage" --sort=name --format=ustar --mtime="@$epoch" --owner=0 --group=0 \
    --numeric-owner --mode=u=rwX,go=rX "$name" | gzip -9 --no-name > "$out/$version/$name.tar.gz"
SOURCE_DATE_EPOCH=$epoch scripts/debian-package.sh "$stage/$name" "${version#v}" "$out/$version" >&2
cp "$stage/$name/share/doc/banger/sbom.cdx.json" "$out/$version/banger-$version.cdx.json"
cp "$stage/install.sh" "$out/$version/install.sh"
(
    cd "$out/$version"
    rm -f SHA256SUMS SHA256SUMS.sig
    sha256sum -- * > "$stage/SHA256SUMS"
    mv "$stage/SHA256SUMS" SHA256SUMS
    if [ -n "$key" ]; then
        openssl dgst -sha256 -sign "$key" SHA256SUMS | base64 -w0 > SHA256SUMS.sig
    else
        FILE=$PWD/SHA256SUMS bash -c "$sign" > SHA256SUMS.sig
    fi
    # As the program that was built will do it.
    openssl dgst -sha256 -verify "$stage/key.pem" -signature <(base64 -d SHA256SUMS.sig) SHA256SUMS >/dev/null ||
        die "the signature is not of the key that the programs have"
)

jq --arg version "$version" --arg at "$(date -u -d "@$epoch" +%F)" \
    '.releases += [{version: $version, published: $at, targets: ["x86_64-linux"]}]' \
    <<< "$list" > "$out/manifest.json"
cp "$stage/install.sh" "$out/install.sh"

if [ -n "$upload" ]; then
    upload() { # NAME...
        local name
        for name; do
            echo "publish-release.sh: uploading $name" >&2
            FILE=$out/$name NAME=$name bash -c "$upload"
        done
    }
    cd "$out"
    upload "$version"/{"$name.tar.gz",*.deb,*.cdx.json,install.sh,SHA256SUMS,SHA256SUMS.sig}
    curl -fsS "$releases/$version/SHA256SUMS" | cmp -s - "$version/SHA256SUMS" ||
        die "$releases/$version has other hashes than were uploaded: nobody is told of it"
    upload install.sh manifest.json
fi
echo "$out/$version"
