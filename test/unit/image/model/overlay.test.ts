import { describe, expect, test } from 'vitest';
import type { ImageNode } from '../../../../src/image/model/node.ts';
import { dropWhiteouts, overlay, type WhiteoutSpec } from '../../../../src/image/model/overlay.ts';
import { device, directory, file, paths, xattr } from '../../../support/image-layers.ts';

function merged(lower: ImageNode[], upper: ImageNode[], spec: WhiteoutSpec = 'oci'): string[] {
  return paths(overlay(directory('/', lower), directory('/', upper), spec));
}

describe('without whiteouts', () => {
  test('the upper entry takes the place of the lower one, directories are merged', () => {
    const lower = [directory('d', [file('a', 'old'), file('b')]), file('f', 'old')];
    const upper = [directory('d', [file('a', 'new'), file('c')], { uid: 7 })];
    const root = overlay(directory('/', lower), directory('/', upper, { mode: 0o40700 }), 'oci');
    expect(paths(root)).toEqual(['d/', 'd/a', 'd/b', 'd/c', 'f']);
    expect(root.mode).toBe(0o40700);
    expect(root.children[0]).toMatchObject({ uid: 7 });
    expect(root.children[0]!.children[0]!.chunks).toEqual(file('a', 'new').chunks);
  });

  test('a directory and a file of one name hide each other with all that is below', () => {
    expect(merged([directory('x', [file('a')])], [file('x')])).toEqual(['x']);
    expect(merged([file('x')], [directory('x', [file('a')])])).toEqual(['x/', 'x/a']);
  });

  test('entries are in byte order, whichever layer they come from', () => {
    expect(merged([file('b'), file('z')], [file('a'), file('ÿ'), file('-')])).toEqual([
      '-',
      'a',
      'b',
      'z',
      'Ã¿',
    ]);
  });
});

describe('OCI whiteouts', () => {
  test('remove a lower file or tree and are gone', () => {
    const lower = [directory('d', [file('a'), directory('s', [file('x')])]), file('f')];
    const upper = [directory('d', [file('.wh.s'), file('.wh.absent')]), file('.wh.f')];
    expect(merged(lower, upper)).toEqual(['d/', 'd/a']);
  });

  test('act on lower layers alone, wherever they stand among the entries of their own', () => {
    const lower = [directory('a', [file('old')])];
    expect(merged(lower, [file('.wh.a'), directory('a', [file('new')])])).toEqual(['a/', 'a/new']);
    const opaque = [directory('a', [file('-first'), file('.wh..wh..opq'), file('new')])];
    expect(merged([directory('a', [file('old')])], opaque)).toEqual(['a/', 'a/-first', 'a/new']);
  });

  test('in the root hide all of the lower layers', () => {
    expect(merged([file('a'), directory('b', [file('c')])], [file('.wh..wh..opq'), file('d')])).toEqual([
      'd',
    ]);
  });

  test('within a directory that nothing is below are gone, too', () => {
    expect(merged([], [directory('n', [directory('m', [file('.wh.x'), file('y')])])])).toEqual([
      'n/',
      'n/m/',
      'n/m/y',
    ]);
    expect(paths(dropWhiteouts(directory('/', [file('.wh.x'), file('y')]), 'oci'))).toEqual(['y']);
  });

  test('name bytes, not characters: names that are not UTF-8 can be removed', () => {
    const bytes = (name: Buffer): ImageNode => ({ ...file('?'), name });
    const lower = [bytes(Buffer.from([0x61, 0xff]))];
    const upper = [bytes(Buffer.concat([Buffer.from('.wh.'), Buffer.from([0x61, 0xff])]))];
    expect(merged(lower, upper)).toEqual([]);
  });

  test('a device 0:0 and an opaque attribute mean nothing', () => {
    const upper = [device('f'), directory('d', [], { xattrs: [xattr('trusted.overlay.opaque', 'y')] })];
    const root = overlay(
      directory('/', [file('f'), directory('d', [file('a')])]),
      directory('/', upper),
      'oci',
    );
    expect(paths(root)).toEqual(['d/', 'd/a', 'f']);
    expect(root.children[0]!.xattrs).toHaveLength(1);
  });
});

describe('overlayfs whiteouts', () => {
  test('are devices 0:0; other devices are files', () => {
    const other = { ...device('g'), rdev: 0x103 };
    expect(merged([file('f'), file('g')], [device('f'), other], 'overlayfs')).toEqual(['g']);
  });

  test('an opaque directory shows nothing from below and loses its mark, not its other attributes', () => {
    const xattrs = [xattr('trusted.overlay.opaque', 'y'), xattr('user.kept', '1')];
    const lower = directory('/', [directory('d', [file('old')])]);
    const root = overlay(lower, directory('/', [directory('d', [file('new')], { xattrs })]), 'overlayfs');
    expect(paths(root)).toEqual(['d/', 'd/new']);
    expect(root.children[0]!.xattrs).toEqual([xattr('user.kept', '1')]);
  });

  test('another value of the attribute is no mark', () => {
    const xattrs = [xattr('trusted.overlay.opaque', 'n')];
    const lower = [directory('d', [file('old')])];
    expect(merged(lower, [directory('d', [], { xattrs })], 'overlayfs')).toEqual(['d/', 'd/old']);
  });

  test('names of OCI whiteouts mean nothing', () => {
    expect(merged([file('a')], [file('.wh.a')], 'overlayfs')).toEqual(['.wh.a', 'a']);
  });
});

test('without a specification everything is a file', () => {
  expect(merged([file('a')], [file('.wh.a'), device('b')], 'none')).toEqual(['.wh.a', 'a', 'b']);
});
