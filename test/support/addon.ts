import { createRequire } from 'node:module';
import type { Addon } from '../../src/native/addon.ts';

/** The built addon, without the product's wrappers around it. */
export const addon: Addon = createRequire(import.meta.url)('../../build/nydus.node') as Addon;
