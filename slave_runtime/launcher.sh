#!/bin/sh
# Finds a Python for the job and runs the runtime with it (Linux, macOS). The BOINC client starts this file in the
# slot directory, with the arguments of the workunit's command line.
#
# Names in the slot: pyboinc_runtime, the runtime's archive. If the app version brings an interpreter along:
# pyboinc_python, its executable, and pyboinc_python_files, a tar archive of what belongs to it (lib/, the licence).
# That is unpacked beside the archive, in the project's directory, once for all jobs.

minor_versions='14 13 12 11 10 9 8'
directories='/usr/local/bin /opt/homebrew/bin /opt/local/bin /usr/bin /bin
    /Library/Frameworks/Python.framework/Versions/Current/bin /opt/conda/bin'
retry_seconds=3600

# Prints the path that the name $1 stands for: the client leaves the file, a symbolic link, or a text with a soft link.
resolve() {
    link=$(LC_ALL=C sed -n -e '1s|^<soft_link>\(.*\)</soft_link>.*$|\1|p' -e 1q -- "$1" 2>/dev/null)
    printf '%s\n' "${link:-$1}"
}

# Takes the interpreter $1, if it is there, runs, and is new enough.
take() {
    case $1 in
        /*) ;;
        *) return 1 ;;
    esac
    [ -x "$1" ] || return 1
    # On a Mac without developer tools this one opens a window that offers to install them.
    if [ "$1" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ]; then
        xcode-select -p >/dev/null 2>&1 || return 1
    fi
    "$1" -E -s -c 'import sys
if sys.version_info < (3, 8): sys.exit(1)
import hashlib, json, mmap, subprocess, zipfile' </dev/null >/dev/null 2>&1 || return 1
    python=$1
}

# Makes $2 the interpreter with the executable $1 and the files in the archive $3: all of it, or nothing. What is
# there already stays, whether it works or not: other jobs may be using it.
unpack() {
    [ -e "$2" ] && return
    new=$2.$$
    if mkdir -p "$new/bin" && tar -xzf "$3" -C "$new" &&
        { ln "$1" "$new/bin/python3" || cp "$1" "$new/bin/python3"; } && chmod +x "$new/bin/python3"
    then
        sync # before it has its name: what a power cut leaves is never taken for the whole
        [ -e "$2" ] || mv "$new" "$2"
    fi 2>/dev/null
    rm -rf "$new" "$2/${new##*/}" # of two jobs that come at the same time, one has been too late
}

take_bundled() {
    [ -e pyboinc_python ] && [ -e pyboinc_python_files ] || return 1
    executable=$(resolve pyboinc_python)
    archive=$(resolve pyboinc_python_files)
    case $archive in
        /*) home=$archive.unpacked ;;
        *) home=$PWD/$archive.unpacked ;;
    esac
    unpack "$executable" "$home" "$archive"
    take "$home/bin/python3"
}

take_installed() {
    names=python3
    for minor in $minor_versions; do
        names="$names python3.$minor"
    done
    for name in $names python; do
        take "$(command -v "$name" 2>/dev/null)" && return
    done
    for directory in $directories; do
        for name in $names; do
            take "$directory/$name" && return
        done
    done
    return 1
}

[ "$1" = pyboinc_runtime ] && shift
if [ ! -e pyboinc_runtime ]; then
    echo 'pyboinc: the job cannot be started: pyboinc_runtime is missing' >&2
    exit 206
fi
if take_bundled || take_installed; then
    exec "$python" -E -s "$(resolve pyboinc_runtime)" "$@"
fi
reason='This computer needs Python 3.8 or newer for this project: install it, from python.org for example.'
echo "pyboinc: $reason" >&2
printf '%s\n' "$retry_seconds" "$reason" notice >boinc_temporary_exit
exit 0
