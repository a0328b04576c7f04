import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compareImages } from '../support/compare-image.ts';
import { build, missingInputs, originalPlace, recipeOf } from '../support/fixture-builds.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';

/** With NYDUS_FIXTURES every image there; otherwise the subset in the repository. */
const root = process.env.NYDUS_FIXTURES ?? FIXTURES;
const isRoot = process.getuid?.() === 0;

/** Where ours may differ from the original, and why. A row that no longer excuses anything fails. */
const ALLOWED: readonly { readonly images: RegExp; readonly line: RegExp; readonly reason: string }[] = [
  {
    images: /^v5-merge3$/,
    line: /^\/hard1: raw flags is 0{16}, expected 020{14}$/,
    reason: 'the other name of this file is gone, and with it the mark of a hard link; the original keeps it',
  },
  {
    images: /^v[56]-parent$/,
    line: /^json: external_blobs is \[\], expected \["[0-9a-f]{64}"\]$/,
    reason: "the original makes a second image of no files and lists the parent's blobs as its own",
  },
];

const used = new Set<(typeof ALLOWED)[number]>();

function isAllowed(image: string, line: string): boolean {
  const row = ALLOWED.find((each) => each.images.test(image) && each.line.test(line));
  if (row !== undefined) used.add(row);
  return row !== undefined;
}

const names = imageNames(root);
const buildable = names.filter((name) => missingInputs(root, recipeOf(root, name)).length === 0);
let work: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'image-fixtures-'));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe.skipIf(!isRoot)('builds of the fixtures (skipped unless root, who can unpack their trees)', () => {
  test.each(buildable)('%s is the original but for what is allowed', async (name) => {
    const built = build(root, name, work);
    expect(built).toMatchObject({ code: 0, stderr: '' });
    const differences = await compareImages(originalPlace(root, name), built.place);
    differences.push(...compareJson(name, built.json));
    expect(differences.filter((line) => !isAllowed(name, line))).toEqual([]);
  });

  test('every allowed difference is still there', () => {
    const seen = (row: (typeof ALLOWED)[number]): boolean => buildable.some((name) => row.images.test(name));
    expect(ALLOWED.filter((row) => seen(row) && !used.has(row))).toEqual([]);
  });
});

test.skipIf(names.every((name) => buildable.includes(name)))(
  `not built: ${names.filter((name) => !buildable.includes(name)).join(' ')}`,
  () => {
    const missing = names.filter((name) => missingInputs(root, recipeOf(root, name)).length > 0);
    expect(new Set([...missing, ...buildable])).toEqual(new Set(names));
  },
);

/** The summary for scripts, less what names this run's paths, times and version. */
function compareJson(name: string, json: Readonly<Record<string, unknown>>): string[] {
  const file = join(root, 'images', name, 'out.json');
  if (!existsSync(file)) return [];
  const {
    version: _,
    bootstrap,
    ...expected
  } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const lines: string[] = [];
  if ((bootstrap === '') !== (json.bootstrap === ''))
    lines.push(`json: bootstrap is ${json.bootstrap}, expected ${bootstrap}`);
  for (const [field, value] of Object.entries(expected)) {
    const [wanted, found] = [JSON.stringify(value), JSON.stringify(json[field])];
    // Ids of blobs are compared with the blob table, where it is known which must be the same.
    const same = field === 'blobs' ? (json.blobs as []).length === (value as []).length : wanted === found;
    if (!same) lines.push(`json: ${field} is ${found}, expected ${wanted}`);
  }
  return lines;
}
