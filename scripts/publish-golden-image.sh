#!/usr/bin/env bash
# Publishes the bundle of an image: uploads it, looks whether it is there, and only then changes
# the catalog.
#
#   scripts/publish-golden-image.sh [--skip-upload] [--upload COMMAND] [--catalog FILE] \
#       [--name NAME] BUNDLE BASE-URL
#
# COMMAND (or $BANGER_UPLOAD) is called with the file and its address; with --skip-upload the file
# is there already. The name of the file begins with its digest's, so that what is at an address
# never changes. The catalog is images/catalog.json unless said otherwise, the image debian-bookworm.
set -euo pipefail
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "publish: $*" >&2; exit 1; }

upload=${BANGER_UPLOAD:-} skip='' name=debian-bookworm
catalog=$(dirname "$0")/../images/catalog.json
while [ $# -gt 0 ]; do
    case $1 in
        --skip-upload) skip=yes ;;
        --upload) upload=${2:?}; shift ;;
        --catalog) catalog=${2:?}; shift ;;
        --name) name=${2:?}; shift ;;
        -*) usage ;;
        *) break ;;
    esac
    shift
done
[ $# -eq 2 ] || usage
bundle=$1 base=${2%/}

sha256=$(sha256sum "$bundle" | cut -d' ' -f1)
size=$(stat -c %s "$bundle")
file=$(basename "$bundle")
[[ $file == *-${sha256:0:12}.tar.zst ]] || fail "\`$file\` is not named by its digest, ${sha256:0:12}"
url=$base/$file

if [ -z "$skip" ]; then
    [ -n "$upload" ] || fail "say how to upload (--upload COMMAND), or that it is done (--skip-upload)"
    "$upload" "$bundle" "$url"
fi
there=$(curl -fsSI --location "$url" | tr -d '\r' |
    awk 'tolower($1) == "content-length:" { size = $2 } END { print size }') ||
    fail "\`$url\` is not there; the catalog is as it was"
[ "$there" = "$size" ] || fail "\`$url\` has ${there:-unknown} bytes, not $size; the catalog is as it was"

new=$(mktemp "$catalog.XXXXXX")
trap 'rm -f "$new"' EXIT
jq --arg name "$name" --arg url "$url" --arg sha256 "$sha256" --argjson size "$size" '
    if any(.images[]; .name == $name) then
        .images |= map(if .name == $name
            then del(.recipe, .suite) + { url: $url, sha256: $sha256, size: $size } else . end)
    else error("no image \($name) in the catalog") end' "$catalog" > "$new"
chmod 644 "$new"
mv "$new" "$catalog"
echo "$url"
