#!/bin/sh
# Boots the guest with QEMU, its virtio-fs device joined to a vhost-user socket.
#
#   boot.sh --sock SOCKET [--control SOCKET] [--memory 512M] [--smp 1] [--queue-size 1024]
#           [--device-options KEY=VALUE,...] [--append WORDS] [--log FILE]
#
# Without --control the guest gives a shell on this terminal (leave it with `poweroff -f`, or Ctrl-A x).
# With --control the guest takes commands over that unix socket, which QEMU creates; its console goes to --log
# (default: nowhere).
# The command line is printed before it runs. KVM is used where a kernel really comes up under it, else TCG:
# NYDUS_VM_ACCEL=kvm or =tcg overrides.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${NYDUS_VM_CACHE:-$(dirname "$here")/build/vm}

sock='' control='' memory=512M smp=1 queue_size=1024 device_options='' append='' log=/dev/null
while [ $# -gt 0 ]; do
  case $1 in
    --sock) sock=$2 ;;
    --control) control=$2 ;;
    --memory) memory=$2 ;;
    --smp) smp=$2 ;;
    --queue-size) queue_size=$2 ;;
    --device-options) device_options=,$2 ;;
    --append) append=$2 ;;
    --log) log=$2 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$sock" ] || { echo 'boot.sh: --sock is missing: the vhost-user socket of nydusd' >&2; exit 2; }

sh "$here/../vm/deps.sh"
{ read -r kernel; read -r initramfs; } <<PATHS
$(sh "$here/../vm/initramfs.sh")
PATHS
[ -n "$initramfs" ] || exit 1
accel=$(sh "$here/accel.sh" "$kernel" "$cache")
case $accel in kvm) cpu=host ;; *) cpu=max ;; esac

# A file of its own for the guest's memory: with only a directory QEMU would make an unlinked one there, and nobody
# could see from outside which guest holds it. Removed by us whatever ends QEMU.
memory_file=$(mktemp "${NYDUS_VM_SHM:-/dev/shm}/nydus-guest.XXXXXX")
qemu=
finish() {
  # Waits, so that nobody finds the old QEMU at its sockets after this script has ended.
  if [ -n "$qemu" ]; then
    kill "$qemu" 2>/dev/null || :
    wait "$qemu" || :
  fi
  rm -f "$memory_file"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

cmdline="console=ttyS0 panic=-1 quiet"
set -- qemu-system-x86_64 -M pc -accel "$accel" -cpu "$cpu" -smp "$smp" -m "$memory" \
  -object "memory-backend-file,id=mem,size=$memory,mem-path=$memory_file,share=on" -numa node,memdev=mem \
  -chardev "socket,id=char0,path=$sock" \
  -device "vhost-user-fs-pci,chardev=char0,tag=nydus,queue-size=$queue_size$device_options" \
  -nodefaults -vga none -display none -kernel "$kernel" -initrd "$initramfs"
if [ -n "$control" ]; then
  cmdline="$cmdline nydus.control=ttyS1"
  set -- "$@" -serial "file:$log" -chardev "socket,id=control,path=$control,server=on,wait=off" -serial chardev:control
else
  set -- "$@" -serial mon:stdio
fi
set -- "$@" -append "$cmdline${append:+ $append}"
printf '+ %s\n' "$*" >&2
if [ -n "$control" ]; then
  # In the background, so that a signal to this shell is handled while QEMU runs; QEMU ends with this shell even
  # if that is killed.
  setpriv --pdeathsig TERM -- "$@" </dev/null &
  qemu=$!
  code=0
  wait "$qemu" || code=$?
  qemu=
  exit "$code"
fi
"$@"
