#!/bin/bash
# Install geoos as a set of system services, or remove it. Called by the Makefile:
#
#   install.sh wheels            build/wheels: geoos and what it needs (the network is used only here)
#   install.sh install           /opt/geoos, units, man pages, configuration; again and again, or a newer tree
#   install.sh uninstall         remove all of that; configuration and data stay
#
# DESTDIR  stage into a directory: nothing of the running system is touched.
# PREFIX   /usr/local, or /usr for a package: commands, units, man pages, completions.
# PYTHON   /usr/bin/python3: an interpreter in somebody's home cannot be run by the daemons.
#
# /opt/geoos/releases/TIME is a venv; /opt/geoos/current names the one in force, by a rename(2). The
# release before it stays until the next upgrade: daemons that still run it load modules from there.
set -euo pipefail
shopt -s inherit_errexit # what fails within $() fails as well: a broken release must not come into force
umask 022

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
PYTHON=${PYTHON:-/usr/bin/python3}
OPT=/opt/geoos
ETC=/etc/geoos
WHEELS=build/wheels
NEEDED_MB=700
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

DESTDIR=${DESTDIR:+$(realpath -m "$DESTDIR")}
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*"; }
die() { printf 'cannot %s\n' "$*" >&2; exit 1; }

need_root() {
    [[ -n $DESTDIR || $(id -u) = 0 ]] || die "$1: it writes to $OPT and $ETC; use: sudo make $1"
}

need_python() {
    [[ -x $PYTHON ]] || die "find $PYTHON; install it: sudo apt install python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "use $("$PYTHON" --version): geoos needs Python 3.11 or newer; name one: make install PYTHON=..."
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "make a venv: Python's venv is missing; install it: sudo apt install python3-venv"
}

# -- wheels ----------------------------------------------------------------------------------------

# What the wheels were made from: other versions or another Python want others.
wheel_stamp() {
    { cat constraints.txt pyproject.toml; "$PYTHON" --version; } | sha256sum
}

wheels() {
    need_python
    if [[ $(cat "$WHEELS/.stamp" 2>/dev/null) != "$(wheel_stamp)" ]]; then
        say "building wheels (the network is needed for this alone)"
        rm -rf build/venv "$WHEELS.new"
        "$PYTHON" -m venv build/venv
        build/venv/bin/pip wheel --quiet -c constraints.txt -w "$WHEELS.new" \
            '.[engine]' hatchling editables ||
            die "build the wheels: pip said why; they need the network once: make wheels"
        rm -rf "$WHEELS"
        mv -T "$WHEELS.new" "$WHEELS"
        wheel_stamp >"$WHEELS/.stamp"
    fi
    # geoos itself anew each time: a wheel of the same version may hold other files.
    rm -f "$WHEELS"/geoos-*.whl
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$PWD/$WHEELS \
        build/venv/bin/pip wheel --quiet --no-deps -w "$WHEELS" .
    # Under sudo, what lies in the checkout stays the user's.
    chown -R --reference=. build 2>/dev/null || true
}

# -- install ---------------------------------------------------------------------------------------

# A venv that knows nothing of DESTDIR. Prints its path.
make_release() {
    local release stage
    release=$OPT/releases/$(date -u +%Y%m%dT%H%M%S.%N)
    stage=$DESTDIR$release
    "$PYTHON" -m venv "$stage"
    "$stage/bin/python" -m pip install --quiet --no-compile --no-index --find-links "$WHEELS" \
        -c constraints.txt 'geoos[engine]' || {
        rm -rf "$stage"
        die "install geoos: pip said why; if a wheel is missing: rm -r build, and once more"
    }
    "$stage/bin/python" -m pip uninstall --quiet --yes pip setuptools
    if [[ -n $DESTDIR ]]; then
        move_release "$stage" "$release"
    fi
    "$PYTHON" -m compileall -q -s "${DESTDIR:-/}" -p / "$stage/lib" >/dev/null || true
    printf '%s\n' "$release"
}

# Have the scripts of the venv at $1 say $2, where it will be.
move_release() {
    "$PYTHON" - "$1" "$2" <<'END'
import os, pathlib, sys

here, there = map(os.fsencode, sys.argv[1:])
venv = pathlib.Path(sys.argv[1])
for file in [*(venv / "bin").iterdir(), venv / "pyvenv.cfg"]:
    if file.is_file() and not file.is_symlink() and here in (text := file.read_bytes()):
        file.write_bytes(text.replace(here, there))
END
}

# Man pages and completions are made by the very release that they describe, of what it knows itself.
make_pages() {
    rm -rf build/man build/completions
    "$1/bin/python" -B docs/man/build.py build
    chown -R --reference=. build 2>/dev/null || true
}

# Put the release in force with one rename; keep the one before it.
switch_to() {
    local opt=$DESTDIR$OPT previous
    previous=$(readlink "$opt/current" || true)
    ln -sfn "releases/${1##*/}" "$opt/current.new"
    mv -T "$opt/current.new" "$opt/current"
    # So that /opt/geoos is that venv, its python included.
    for each in bin lib pyvenv.cfg; do ln -sfn "current/$each" "$opt/$each"; done
    for each in "$opt"/releases/*; do
        [[ $each -ef $opt/current || ${each##*/} = "${previous##*/}" ]] || rm -rf "$each"
    done
}

# The administrator's file is never touched: what is new is put beside it, where it differs.
install_configuration() {
    local etc=$DESTDIR$ETC
    install -d "$etc/themes"
    install -d -m 0700 "$etc/credentials"
    if [[ ! -e $etc/geoos.toml ]]; then
        install -m 0644 etc/geoos.toml "$etc/geoos.toml"
    elif cmp -s etc/geoos.toml "$etc/geoos.toml"; then
        rm -f "$etc/geoos.toml.new"
    else
        install -m 0644 etc/geoos.toml "$etc/geoos.toml.new"
        say "kept $ETC/geoos.toml; this version's is beside it: $ETC/geoos.toml.new"
    fi
    for theme in etc/themes/*.json; do
        [[ -e $etc/themes/${theme##*/} ]] || install -m 0644 "$theme" "$etc/themes/"
    done
}

# Pairs of source and target directory; what this version does not have is left out.
shipped() {
    local lib=$PREFIX/lib share=$PREFIX/share
    local unit
    for unit in units/*.service units/*.socket units/*.target units/*.timer units/*.slice; do
        say "$unit $lib/systemd/system"
    done
    for unit in units/user/*.service units/user/*.socket units/user/*.target units/user/*.timer; do
        say "$unit $lib/systemd/user"
    done
    for each in units/geoos-*.service.d; do say "$each/10-geoos.conf $lib/systemd/system/${each##*/}"; done
    for each in units/user/geoos-*.service.d; do say "$each/10-geoos.conf $lib/systemd/user/${each##*/}"; done
    say "units/system-preset/85-geoos.preset $lib/systemd/system-preset"
    say "units/sysusers.d/geoos.conf $lib/sysusers.d"
    say "units/tmpfiles.d/geoos.conf $lib/tmpfiles.d"
    for each in units/drop-ins/*.conf; do say "$each $share/doc/geoos/drop-ins"; done
    for each in etc/examples/*.toml; do say "$each $share/doc/geoos/examples"; done
    for each in units/catalog/*.catalog; do say "$each $lib/systemd/catalog"; done
    # By name, so that uninstall finds them after `make clean` too.
    for each in geoosctl.1 geoos.toml.5 geoosd.8 geoos.target.8; do
        say "build/man/$each $share/man/man${each##*.}"
    done
    for each in geoosctl geoosd; do
        say "build/completions/$each.bash $share/bash-completion/completions"
        say "build/completions/_$each $share/zsh/site-functions"
        say "build/completions/$each.fish $share/fish/vendor_completions.d"
    done
}

install_files() {
    local source directory list=$DESTDIR$OPT/installed
    while read -r source directory; do
        [[ -e $source ]] || continue # a pattern that matched nothing
        install -D -m 0644 -t "$DESTDIR$directory" "$source"
        say "$directory/${source##*/}" >&3
    done < <(shipped) 3>"$list.new"
    remove_files_not_in "$list.new"
    mv -T "$list.new" "$list"
    install -d "$DESTDIR$PREFIX/bin"
    ln -sfn "$OPT/bin/geoosctl" "$DESTDIR$PREFIX/bin/geoosctl"
    ln -sfn "$OPT/bin/geoosd" "$DESTDIR$PREFIX/bin/geoosd"
}

# What the version before installed and this one does not have; of units, what runs of them ends too,
# since without its file nobody could restart it.
remove_files_not_in() {
    local old=$DESTDIR$OPT/installed path
    [[ -e $old ]] || return 0
    while read -r path; do
        if live && [[ ${path%/*} == */systemd/system ]]; then
            systemctl --quiet disable --now "${path##*/}" 2>/dev/null || true
        fi
        rm -f "$DESTDIR$path"
        say "removed $path, which this version does not have"
    done < <(grep -vxFf "$1" "$old")
}

# Is there a systemd that runs, and is it this root's?
live() { [[ -z $DESTDIR && -d /run/systemd/system ]]; }

tell_systemd() {
    command -v systemd-sysusers >/dev/null && systemd-sysusers "$PREFIX/lib/sysusers.d/geoos.conf"
    command -v systemd-tmpfiles >/dev/null &&
        systemd-tmpfiles --create "$PREFIX/lib/tmpfiles.d/geoos.conf"
    [[ ! -d $PREFIX/lib/systemd/catalog ]] || journalctl --update-catalog || true
    live || return 0
    systemctl daemon-reload
}

next_step() {
    local release=$1
    if [[ -n $DESTDIR ]]; then
        say "staged geoos in $DESTDIR; on the machine: systemd-sysusers, systemd-tmpfiles --create, journalctl --update-catalog"
    elif live && systemctl --quiet is-active geoos.target; then
        say "installed geoos ($release); the daemons still run the one before it."
        say "next: systemctl restart 'geoos-*.service'"
    else
        say "installed geoos ($release)"
        say "next: systemctl enable --now geoos.target, then: geoosctl status"
        say "who may look and prompt: usermod -aG geoos USER; who may administer: -aG geoos,geoos-admin"
    fi
    case $PREFIX in
    /usr | /usr/local) ;;
    *) say "note: systemd does not look for units in $PREFIX/lib/systemd; link or copy them" ;;
    esac
}

install_all() {
    need_root install
    need_python
    local parent free release
    parent=$DESTDIR/opt
    mkdir -p "$parent"
    free=$(df -Pm "$parent" | awk 'NR == 2 { print $4 }')
    [[ $free -ge $NEEDED_MB ]] || die "install: $free MB free in $parent, $NEEDED_MB MB are needed"
    wheels
    mkdir -p "$DESTDIR$OPT/releases"
    release=$(make_release)
    make_pages "$DESTDIR$release"
    install_configuration
    install_files
    switch_to "$release"
    [[ -n $DESTDIR ]] || tell_systemd
    next_step "$release"
}

# -- uninstall -------------------------------------------------------------------------------------

uninstall_all() {
    need_root uninstall
    if live; then
        systemctl --quiet disable --now geoos.target geoos-{backup,structure}.timer 2>/dev/null || true
        systemctl stop 'geoos-*.service' 'geoos-*.socket' geoos.slice 2>/dev/null || true
    fi
    local source directory
    if [[ -e $DESTDIR$OPT/installed ]]; then
        sed "s|^|$DESTDIR|" "$DESTDIR$OPT/installed" | xargs -d '\n' rm -f
    fi
    while read -r source directory; do
        rm -f "$DESTDIR$directory/${source##*/}"
    done < <(shipped)
    local systemd=$DESTDIR$PREFIX/lib/systemd
    rmdir "$systemd"/{system,user}/geoos-*.service.d 2>/dev/null || true
    rm -rf "$DESTDIR$PREFIX/share/doc/geoos" "$DESTDIR$OPT" || true
    rm -f "$DESTDIR$PREFIX"/bin/{geoosctl,geoosd}
    if live; then
        systemctl daemon-reload
        systemctl reset-failed 'geoos-*' 2>/dev/null || true
        rm -rf /run/geoos
    fi
    [[ -n $DESTDIR ]] || journalctl --update-catalog || true
    say "removed geoos; left where they are: $ETC, /var/lib/geoos, /var/cache/geoos, and the users geoos-*"
    say "to remove them too: rm -r $ETC /var/lib/geoos /var/cache/geoos"
}

case ${1:-} in
wheels) wheels ;;
install) install_all ;;
uninstall) uninstall_all ;;
*) die "do '${1:-}': usage: install.sh wheels|install|uninstall" ;;
esac
