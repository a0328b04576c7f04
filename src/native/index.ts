/**
 * The door of the room for who wants the addon itself: importing this file loads it. Types and layouts come from the
 * file of their subject, which loads nothing.
 */
import type { Addon } from './addon.ts';
import { loadAddon } from './load.ts';

export { checkSyscall, SystemError } from './system-error.ts';

/** The addon of this thread. */
export const addon: Addon = loadAddon();
