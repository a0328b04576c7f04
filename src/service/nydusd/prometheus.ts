import { COUNTED_OPS } from '../../wire/fuse.ts';
import type { FsMetrics } from './control.ts';

/** The counters in the Prometheus text format, version 0.0.4. */
export function prometheusText(mounts: readonly FsMetrics[], mountCount: number): string {
  const lines: string[] = [];
  const family = (name: string, type: string, help: string) => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  };
  family('nydusd_mounts', 'gauge', 'Images mounted now.');
  lines.push(`nydusd_mounts ${mountCount}`);
  family('nydusd_read_bytes_total', 'counter', 'Bytes given to guests.');
  for (const mount of mounts) lines.push(`nydusd_read_bytes_total{${label(mount)}} ${mount.data_read}`);
  family('nydusd_fop_total', 'counter', 'File operations served.');
  for (const mount of mounts) pushFops(lines, 'nydusd_fop_total', mount, mount.fop_hits);
  family('nydusd_fop_errors_total', 'counter', 'File operations that failed.');
  for (const mount of mounts) pushFops(lines, 'nydusd_fop_errors_total', mount, mount.fop_errors);
  return `${lines.join('\n')}\n`;
}

function pushFops(lines: string[], name: string, mount: FsMetrics, values: readonly number[]): void {
  for (const [index, fop] of COUNTED_OPS.entries()) {
    lines.push(`${name}{${label(mount)},fop="${fop}"} ${values[index] ?? 0}`);
  }
}

function label(mount: FsMetrics): string {
  const escaped = mount.id.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
  return `mountpoint="${escaped}"`;
}
