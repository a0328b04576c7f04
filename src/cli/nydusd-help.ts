import { packageVersion } from '../programs/common/version.ts';

/** What `--help` prints. */
export const HELP: string = `nydusd: serves Nydus (RAFS) images to a microVM as one virtio-fs device

Usage:
  nydusd virtiofs --sock VHOST.SOCK [--apisock API.SOCK] [options]
  nydusd --config C.JSON --bootstrap IMAGE.BOOT --sock VHOST.SOCK      (flags of 2020)

One image at start:
  nydusd virtiofs --sock /run/v.sock --bootstrap image.boot --localfs-dir /images
Images while the guest runs:
  nydusd virtiofs --sock /run/v.sock --apisock /run/api.sock
  curl --unix-socket /run/api.sock -X POST 'http://localhost/api/v1/mount?mountpoint=/app' \\
       -d '{"fs_type":"rafs","source":"image.boot","config":"<text of c.json>"}'
In the guest:
  mount -t virtiofs TAG /mnt

What to serve:
      --sock PATH               socket the VMM connects to (required)
  -A, --apisock PATH            HTTP API on this unix socket; see /api/v1/openapi.json there
  -B, --bootstrap FILE          mount this image at start
  -C, --config FILE             where its blobs and its cache are: v1 JSON, v2 TOML or JSON
  -D, --localfs-dir DIR         instead of --config: blobs and cache in DIR
  -m, --virtual-mountpoint PATH where in the tree the image appears (default /)
      --prefetch-files FILE     accepted, not active yet
      --hybrid-mode             accepted; a guest that can do without OPEN is always told so

The device:
      --num-request-queues N    request queues offered (default 4); a thread starts when one is used
      --tag TAG                 serve the configuration space with this tag
      --poll-us N               busy-poll so long before a thread sleeps (default 50; 0 on one CPU)
      --exit-on-disconnect      end when the VMM goes; otherwise wait for the next one
      --thread-num N            accepted; threads follow the queues

The process:
      --id NAME                 shown by the API
  -l, --log-level LEVEL         trace, debug, info, warn or error (default info)
  -L, --log-file FILE           log there instead of standard error
      --log-rotation-size MB    begin a new file beyond this size, 0 = never (default 0)
      --rlimit-nofile N         raise the limit of open files (default 1000000, 0 = leave)
  -h, --help    -V, --version

Not supported yet: fuse and --mountpoint, singleton, uffd, nbd, --shared-dir, --upgrade, --supervisor, --dedup-db.
Exit status: 0 after a clean end, 1 when something failed, 2 for wrong arguments.
`;

/** What `--version` prints: clients look for the line that begins with `Version:`. */
export function versionText(): string {
  return `nydusd\nVersion: \t${packageVersion}\nProfile: \trelease\nRuntime: \tnode ${process.version}\n`;
}
