/**
 * The file of `--chunk-dict [bootstrap=]FILE`. What stands before the first `=` is the kind of dictionary. Throws
 * an Error naming the flag.
 */
export function parseChunkDict(text: string): string {
  const at = text.indexOf('=');
  const kind = at < 0 ? 'bootstrap' : text.slice(0, at);
  if (kind === 'bootstrap' && at + 1 < text.length) return text.slice(at + 1);
  throw new Error(
    `--chunk-dict ${text}: must be bootstrap=FILE; other kinds of dictionaries do not exist. A name with = in it needs bootstrap= before it`,
  );
}
