#!/bin/sh
# accel.sh KERNEL CACHE: prints kvm or tcg. /dev/kvm being there proves nothing: some clouds have one under which
# a guest kernel hangs. So the kernel is started under it, without a root: where KVM works it panics and QEMU ends
# within a second. The answer holds until the host reboots.
set -eu

[ -z "${NYDUS_VM_ACCEL:-}" ] || { echo "$NYDUS_VM_ACCEL"; exit; }
kernel=$1
known=$2/accel
boot=$(cat /proc/sys/kernel/random/boot_id)
if [ ! -s "$known" ] || [ "$(cut -d' ' -f1 "$known")" != "$boot" ]; then
  accel=tcg
  if [ -w /dev/kvm ] && timeout -s KILL 5 qemu-system-x86_64 -M pc -accel kvm -cpu host -m 256M -nodefaults \
    -display none -no-reboot -kernel "$kernel" -append 'panic=-1 quiet' >/dev/null 2>&1; then
    accel=kvm
  fi
  echo "$boot $accel" >"$known.$$"
  mv "$known.$$" "$known"
fi
cut -d' ' -f2 "$known"
