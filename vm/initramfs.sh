#!/bin/sh
# Builds the guest's initramfs: busybox, the kernel's virtio-fs modules, vm/init and the walker.
# Prints three lines: the paths of the kernel, of the initramfs, and of the walker that is in it.
# A build is kept under a name made of the kernel's version and a hash of everything that goes into it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${NYDUS_VM_CACHE:-$(dirname "$here")/build/vm}
[ -s "$cache/kernel" ] || { echo 'initramfs: no guest kernel; run vm/deps.sh first' >&2; exit 1; }
image=$(cat "$cache/kernel")
version=${image#vmlinuz-}
root=$cache/root
modules=$root/lib/modules/$version
[ -d "$modules" ] || modules=$root/usr/lib/modules/$version
busybox=$(command -v busybox)

hash=$(cat "$here/init" "$here/walk.cc" "$0" "$busybox" | sha256sum | cut -c1-12)
out=$cache/initramfs-$version-$hash.cpio.gz
walker=$cache/walk-$hash

module_file() { # NAME -> path of the module, with - and _ taken as the same; nothing if it is built in
  pattern=$(printf '%s' "$1" | sed 's/[-_]/[-_]/g')
  find "$modules/kernel" -name "$pattern.ko" -o -name "$pattern.ko.xz" -o -name "$pattern.ko.zst" | head -n 1
}

unpack_module() { # PATH TARGET
  case $1 in
    *.xz) xz -dc "$1" >"$2" ;;
    *.zst) zstd -qdc "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
  esac
}

# Copies the module and, first, the modules it depends on (its own .modinfo says which); the order in which they
# must be loaded goes into lib/modules/order.
add_module() {
  [ ! -e "$stage/lib/modules/$1.ko" ] || return 0
  file=$(module_file "$1")
  if [ -z "$file" ]; then
    grep -q "/$(printf '%s' "$1" | sed 's/[-_]/[-_]/g')\.ko" "$modules/modules.builtin" && return 0
    echo "initramfs: kernel $version has no module $1" >&2
    exit 1
  fi
  unpack_module "$file" "$stage/lib/modules/$1.ko"
  for dependency in $(tr '\0' '\n' <"$stage/lib/modules/$1.ko" | sed -n 's/^depends=//p' | tr ',' ' '); do
    add_module "$dependency"
  done
  echo "$1.ko" >>"$stage/lib/modules/order"
}

if [ ! -s "$out" ]; then
  stage=$(mktemp -d "$cache/stage.XXXXXX")
  trap 'rm -rf "$stage"' EXIT
  mkdir -p "$stage/bin" "$stage/lib/modules" "$stage/proc" "$stage/sys" "$stage/dev" "$stage/mnt" "$stage/tmp"
  : >"$stage/lib/modules/order"
  cp "$busybox" "$stage/bin/busybox"
  add_module virtio_pci
  add_module virtiofs
  g++ -O2 -static -s -o "$stage/bin/walk" "$here/walk.cc"
  cp "$stage/bin/walk" "$walker.$$"
  mv "$walker.$$" "$walker"
  cp "$here/init" "$stage/init"
  chmod 755 "$stage/init"
  (cd "$stage" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$out.$$"
  mv "$out.$$" "$out"
fi
printf '%s\n' "$root/boot/$image" "$out" "$walker"
