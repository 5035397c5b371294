#!/usr/bin/env bash
# Records a short session with banger as an asciicast (version 2, as asciinema plays it), from a real run:
# every command is typed into a shell on a pseudo-terminal, and what comes is written down with its times.
#
#     scripts/record-demo.sh [OUTPUT]          docs/demo.cast, with target/bin/banger and real VMs
#     scripts/record-demo.sh OUTPUT SCRIPT     another session: one command a line, blank lines and # left out
#
# The session is a user's with nothing: a home and a repository of its own in /tmp/banger-demo, which shows in
# the recording and is the same on every machine, and a prompt without a name. The images and kernels are this
# user's own (XDG_DATA_HOME), so that no download is recorded; get them first: `banger vm run --rm -- true`. A
# command that fails ends the recording, and so does a name or a path of this machine; nothing is written then.
set -euo pipefail
cd "$(dirname "$0")/.."

output=$(realpath -m "${1:-docs/demo.cast}")
script=${2:+$(realpath "$2")}
banger=$PWD/target/bin/banger
data=${XDG_DATA_HOME:-$HOME/.local/share}
cache=${XDG_CACHE_HOME:-$HOME/.cache}

work=/tmp/banger-demo
mkdir -m 0700 "$work" || { echo "record-demo: remove it, unless another recording uses it" >&2; exit 1; }
# shellcheck disable=SC2329 # called by the trap
clear_up() {
    if [ -e "$work/run/banger/bangerd.sock" ]; then
        env -i "${environment[@]}" banger vm ls --json |
            python3 -c 'import json, sys; [print(vm["name"]) for vm in json.load(sys.stdin)["vms"]]' |
            env -i "${environment[@]}" xargs -r banger vm delete --force >/dev/null || true
        env -i "${environment[@]}" banger daemon stop >/dev/null || true
    fi
    rm -rf "$work"
}
trap clear_up EXIT

mkdir -m 0700 "$work/home" "$work/run"
path=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
environment=(
    "HOME=$work/home" "XDG_RUNTIME_DIR=$work/run" "XDG_DATA_HOME=$data" "XDG_CACHE_HOME=$cache"
    "PATH=$(dirname "$banger"):$path" LANG=C.UTF-8 TERM=xterm-256color
)

if [ -z "$script" ]; then
    [ -x "$banger" ] || { echo "record-demo: no $banger: make build" >&2; exit 1; }
    script=$work/script
    cat >"$script" <<'COMMANDS'
cd hello && ls
banger vm run --rm . -- sh hello.sh
banger vm run -d --name web .
banger vm ls
banger exec web -- uname -sr
banger exec web -- sh -c 'echo "date -u" >>hello.sh'
banger vm cp notes.txt web:/tmp
banger exec web -- cat /tmp/notes.txt
banger vm workspace export web
banger vm delete web
COMMANDS
    repository=$work/home/hello
    mkdir "$repository"
    printf 'echo "hello from a VM"\n' >"$repository/hello.sh"
    printf 'a note for the VM\n' >"$repository/notes.txt"
    git -C "$repository" init -q -b main
    git -C "$repository" add .
    git -C "$repository" -c user.name=demo -c user.email=demo@example.org commit -q -m 'hello'
fi

# What nobody else has to know. `/root` is a VM's home, too.
private=("$PWD" "$(uname -n)")
[ "$HOME" = /root ] || private+=("$HOME")
env -i "${environment[@]}" python3 scripts/record_session.py "$script" "$work/demo.cast" "${private[@]}"
mkdir -p "$(dirname "$output")"
mv "$work/demo.cast" "$output"
echo "record-demo: $output, $(wc -l <"$output") lines" >&2
