#!/bin/sh
# Makes sure that what the demo, the tests and the addon build need of Debian is there, and that a guest kernel
# lies unpacked in build/vm. Runs before npm install, hence plain sh.
#
#   deps.sh            install or download what is missing; does nothing when all is there
#   deps.sh --check    only say what is missing; exit 1 if anything is
#
# As root it installs through apt. Otherwise it prints the one command that does, and exits 1.
# The kernel package is downloaded and unpacked, never installed: it must not touch the host's boot loader.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${NYDUS_VM_CACHE:-$(dirname "$here")/build/vm}

# binary that proves the package is there : package
needs='
qemu-system-x86_64:qemu-system-x86
busybox:busybox-static
cpio:cpio
g++:g++
make:make
mkfs.erofs:erofs-utils
curl:curl
setfattr:attr
xz:xz-utils
zstd:zstd
'

say() { printf '%s\n' "deps: $*" >&2; }

die() { say "$*"; exit 1; }

missing_packages() {
  for need in $needs; do
    command -v "${need%%:*}" >/dev/null 2>&1 || printf '%s ' "${need##*:}"
  done
  # The guest's walker is a static program: libc.a comes with libc6-dev, libstdc++.a with g++.
  [ -e /usr/lib/x86_64-linux-gnu/libc.a ] || printf 'libc6-dev '
  # The benchmark's other side. Debian 12 has it in a package that qemu-system-x86 brings along.
  [ "$(. /etc/os-release && echo "${VERSION_ID:-12}")" = 12 ] || [ -e /usr/libexec/virtiofsd ] || printf 'virtiofsd '
}

have_kernel() { [ -s "$cache/kernel" ] && [ -e "$cache/root/boot/$(cat "$cache/kernel")" ]; }

fresh_lists=
update_lists() {
  [ -n "$fresh_lists" ] && return
  say 'apt-get update'
  apt-get update -qq >&2 || say 'apt-get update failed; going on with the lists there are'
  fresh_lists=1
}

install_packages() { # PACKAGES...
  say "installing $*"
  apt-get install -y -qq --no-install-recommends "$@" >"$cache/apt.log" 2>&1 && return
  update_lists
  apt-get install -y -qq --no-install-recommends "$@" >"$cache/apt.log" 2>&1 && return
  cat "$cache/apt.log" >&2
  die "apt-get could not install: $*"
}

# linux-image-cloud-amd64 is only a pointer: the package that holds the kernel is what it depends on.
kernel_package() {
  apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: *\(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

download_kernel() {
  package=$(kernel_package)
  if [ -z "$package" ]; then update_lists; package=$(kernel_package); fi
  [ -n "$package" ] || die 'apt knows no linux-image-cloud-amd64: is this Debian 12 or newer on amd64?'
  work=$(mktemp -d "$cache/download.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "downloading $package (unpacked into build/vm, not installed)"
  if ! (cd "$work" && apt-get download -qq "$package" >"$cache/apt.log" 2>&1); then
    update_lists
    # The new lists may name a newer package.
    package=$(kernel_package)
    (cd "$work" && apt-get download -qq "$package" >"$cache/apt.log" 2>&1) ||
      { cat "$cache/apt.log" >&2; die "apt-get could not download $package"; }
  fi
  dpkg-deb -x "$work"/linux-image-*.deb "$work/root"
  image=$(cd "$work/root/boot" && ls -d vmlinuz-*)
  rm -rf "$cache/root"
  mv "$work/root" "$cache/root"
  printf '%s\n' "$image" >"$cache/kernel.new"
  mv "$cache/kernel.new" "$cache/kernel"
}

missing=$(missing_packages)
if [ "${1:-}" = --check ]; then
  [ -z "$missing" ] || say "missing packages: $missing"
  have_kernel || say 'missing: the guest kernel in build/vm'
  [ -z "$missing" ] && have_kernel
  exit
fi

mkdir -p "$cache"
# Two runs at once (tests and demo) take turns.
exec 9>"$cache/deps.lock"
flock 9
missing=$(missing_packages)
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null 2>&1 || die "missing: $missing(this script knows only Debian's apt)"
  if [ "$(id -u)" -ne 0 ]; then
    die "missing packages; run: sudo apt-get install -y --no-install-recommends $missing"
  fi
  DEBIAN_FRONTEND=noninteractive
  export DEBIAN_FRONTEND
  # shellcheck disable=SC2086 # a list of names
  install_packages $missing
fi
have_kernel || download_kernel
