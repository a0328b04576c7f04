/** Bodies of the API as zod schemas: they validate, and the OpenAPI document is generated from them. Import lazily. */
import { z } from 'zod';

/** POST and PUT with `?mountpoint=`. */
export interface ModernMount {
  source: string;
  fs_type: string;
  config: string;
  prefetch_files?: string[] | null | undefined;
}

/** PUT without a query, as in 2020. */
export interface LegacyMount {
  mountpoint: string;
  source?: string | undefined;
  fstype?: string | undefined;
  fs_type?: string | undefined;
  config?: string | null | undefined;
  ops: 'mount' | 'umount' | 'update';
  prefetch_files?: string[] | null | undefined;
}

const modernMount = z.object({
  source: z.string().describe('The bootstrap, or the blob with an inlined one: a file of the daemon’s host'),
  fs_type: z.string().default('').describe('rafs'),
  config: z.string().describe('Text of a configuration, v1 or v2'),
  prefetch_files: z.array(z.string()).nullish(),
});

const legacyMount = z.object({
  mountpoint: z.string().min(1),
  source: z.string().optional(),
  fstype: z.string().optional(),
  fs_type: z.string().optional(),
  config: z.string().nullish().describe('A configuration file’s path; the text of one is taken, too'),
  ops: z.enum(['mount', 'umount', 'update']).default('mount'),
  prefetch_files: z.array(z.string()).nullish(),
});

const configureDaemon = z.object({
  log_level: z.string().describe('off, error, warn, info, debug or trace'),
});

const runtimeConfig = z.record(z.string(), z.string());

/** Every body of the API by name. */
export const bodies: {
  readonly modernMount: z.ZodType<ModernMount>;
  readonly legacyMount: z.ZodType<LegacyMount>;
  readonly configureDaemon: z.ZodType<{ log_level: string }>;
  readonly runtimeConfig: z.ZodType<Record<string, string>>;
} = { modernMount, legacyMount, configureDaemon, runtimeConfig };

/** The body of every error answer. */
export const errorBody: z.ZodType<{ code: string; message: string }> = z.object({
  code: z.string(),
  message: z.string(),
});
