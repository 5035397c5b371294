#!/usr/bin/env bash
# Packs a kernel as a bundle called by its content, uploads it, and adds it to the catalog once it
# can be fetched.
#
#   scripts/publish-kernel.sh --name NAME --kernel FILE [--config FILE] [--modules DIR|FILE]
#       --distro DISTRO --description TEXT --base-url URL [--upload COMMAND | --skip-upload]
#       [--out DIR] [--catalog FILE] [--banger PROGRAM]
#
# COMMAND is given to the shell with FILE (the bundle) and NAME (its name under the URL) in its
# environment. With --skip-upload somebody has put the bundle there already, or it is put there by
# other means before this script is run again.
set -euo pipefail

die() {
    echo "publish-kernel.sh: $*" >&2
    exit 1
}

name='' description='' base_url='' upload='' skip_upload=no out=target/bundles
root=$(cd "$(dirname "$0")/.." && pwd)
catalog=$root/images/kernels.json
banger=$root/target/bin/banger
pack=()
while [ $# -gt 0 ]; do
    if [ "$1" = --skip-upload ]; then
        skip_upload=yes
        shift
        continue
    fi
    [ $# -ge 2 ] || die "\`$1\` is unknown or wants a value"
    case $1 in
        --name) name=$2 ;;
        --kernel | --config | --modules | --distro) pack+=("$1" "$2") ;;
        --description) description=$2 ;;
        --base-url) base_url=${2%/} ;;
        --upload) upload=$2 ;;
        --out) out=$2 ;;
        --catalog) catalog=$2 ;;
        --banger) banger=$2 ;;
        *) die "unknown option \`$1\`" ;;
    esac
    shift 2
done
[[ $name =~ ^[a-z0-9][a-z0-9._-]*$ ]] || die "\`--name\` is missing, or no name of a kernel: \`$name\`"
[[ -n $description && -n $base_url ]] || die "\`--description\` and \`--base-url\` are needed"
[ -n "$upload" ] || [ $skip_upload = yes ] || die "give \`--upload COMMAND\`, or \`--skip-upload\`"
for program in jq curl; do
    command -v "$program" >/dev/null || die "\`$program\` is not installed"
done

mkdir -p "$out"
packed=$("$banger" internal make-kernel-bundle "${pack[@]}" --description "$description" \
    --out "$out/$name.tar.zst")
mapfile -t packed <<<"$packed"
sha256=${packed[1]} size=${packed[2]}
file=$out/$name-${sha256:0:12}.tar.zst
mv "${packed[0]}" "$file"
url=$base_url/$(basename "$file")

if [ $skip_upload = no ]; then
    FILE=$file NAME=$(basename "$file") sh -c "$upload" || die "the upload failed; the catalog is as it was"
fi
length=$(curl --fail --silent --show-error --location --head "$url" |
    tr -d '\r' | sed -n 's/^[Cc]ontent-[Ll]ength: *//p' | tail -n 1) ||
    die "\`$url\` cannot be fetched; the catalog is as it was"
[ "$length" = "$size" ] || die "\`$url\` has ${length:-unknown} bytes, expected $size; the catalog is as it was"

entry=$(jq -n --arg name "$name" --arg description "$description" --arg url "$url" \
    --arg sha256 "$sha256" --argjson size "$size" '$ARGS.named')
jq --indent 2 --argjson entry "$entry" \
    '.kernels = ([.kernels[] | select(.name != $entry.name)] + [$entry])' "$catalog" >"$catalog.new"
mv "$catalog.new" "$catalog"
echo "$url"
