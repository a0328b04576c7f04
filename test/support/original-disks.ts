/** What `nydus-image export --block --verity` 2.4.4 writes and prints. */

/** A disk of the original's. */
export interface OriginalDisk {
  /** SHA-256 of the file, hash tree included. */
  readonly sha256: string;
  /** Of the line that it prints: size and count of data blocks, hash offset, root digest. */
  readonly verity: string;
}

/** Images of the fixtures. The original fails on the others: on batches, and on bootstraps at the end of blobs. */
export const originalDisks: Readonly<Record<string, OriginalDisk>> = {
  'v6-chunks1m-lz4_block': {
    sha256: 'fc1f502ec74a1c5b8e2d0869f2b3e50d42bcf149d472f170e117601f03d0a8ec',
    verity: '4096 1610 6594560 89cb53e409792c7a24cfe196da7ef839c62769c3009ac18fa555ab16effb1860',
  },
  'v6-chunks64k-lz4_block': {
    sha256: 'e83b45d2284d6a870e95258cb8f0c08830d04fc47ebb494859b284eed7ffb0a2',
    verity: '4096 1274 5218304 a9e57b1b273c05858329de054fdb39693d05396f995caf4fda7c3b74dc2de1ee',
  },
  'v6-chunks64k-none': {
    sha256: '807c51bb2da4029f06593bb08e5f0683e859c2bf342e0851ad9542b126955780',
    verity: '4096 1274 5218304 df20a44933a47904cfbf7ad516c9bbe66f26622db13ab70a3dc0b51df6aa0240',
  },
  'v6-chunks64k-zstd': {
    sha256: '0ee3689f42728ae8467f175cd1ccdef7887eb61e64b9b689038788583d740434',
    verity: '4096 1274 5218304 b793bd781c14e88d7877b69cdd206e21e7c86d7b18bac2a1430226fcd2407bcb',
  },
  'v6-dict': {
    sha256: 'aefd95dac01d0727e2f1f560d9624c2b104413cff8c2d71de496302434833276',
    verity: '4096 279 1142784 15cffa9ac94a29497cc667a88522bb8b5243df2171ed6b5fb51a13302617e3cd',
  },
  'v6-encrypt': {
    sha256: '4659cba8010aca2456500b19f874f0068b553403b936bad632415c8255d554f7',
    verity: '4096 806 3301376 706b5acff47c4f7e3e9b31b0992df7869884bdea99e2fde97490930d4d975a83',
  },
  'v6-estargz-ref': {
    sha256: '5aff1e98221d6608061b5fc41fbc0d8818f5c5604c6c12b95619af326010229b',
    verity: '4096 806 3301376 1b2e6ae8017947040932bde076648da119f06be666ae8df5f84f63765039b854',
  },
  'v6-estargz': {
    sha256: 'e032bbaa983bda21127fd6097a154aad3fce53ede95e4f341a46ce182520abce',
    verity: '4096 806 3301376 66360dcbc23fdfea4e686d5f9d635d27656e54b03f6c7ac7e5795335b855d0ef',
  },
  'v6-lower-tar': {
    sha256: 'ce939221ad09527fb256620890bbd73b76d531d49e4fa80a27b9e2a846bfd0c2',
    verity: '4096 145 593920 0973ce8418d47938f867308db41c9e2ad7e7a9689cd550574f651e8d7aae62ac',
  },
  'v6-lower': {
    sha256: '93e0c0381b7ef1e60858d1ef2e5a346e0efa20cc6c8873cebd6841a7b842a628',
    verity: '4096 145 593920 ef6a9d80c64c8e803db7f14d317b578d515a9ada76b16938e110d6ce3a949c5d',
  },
  'v6-lz4_block-blake3': {
    sha256: 'c7e00683a66badb2abffe8a45cecdcd590cf2cd78cc568ad741c2d2ae95255df',
    verity: '4096 806 3301376 9a8a0d8018ed08b6c9537cb0291ad71932ac0290cb19b0ee7e585e633527ba0c',
  },
  'v6-lz4_block-sha256': {
    sha256: '39c43f07dc4dfeb336f04dd47c265efc1e9e9b6266cabb283e7e5b4edc8ececf',
    verity: '4096 806 3301376 53a839060326e5251e50e97f386f072bcabdd8653347d29dc8b0ddf2281a5a87',
  },
  'v6-merge-dict': {
    sha256: '4810b6a2f74007cf217f5fd509c22109771b58026fd8803abe529e17cf59f272',
    verity: '4096 273 1118208 72458ea91ecb3fd9a24ed2dd129a0e5d4e3278d1f99e53ec18369330f101e31e',
  },
  'v6-merge3': {
    sha256: 'bac8aeb546da8072a62066b1c5de7ea324702fadd233f20c0c356f60f06d2764',
    verity: '4096 401 1642496 4249974a25c297e2b8bdf950230f5d1955681da1343a2e160f645896a8d8d6a9',
  },
  'v6-none-blake3': {
    sha256: 'efc0020c3ba799bc7c5a9b4b1a950966e184a41491f0a26c329609f2e8d0667e',
    verity: '4096 806 3301376 7f87ff70c4bc489a40b07fb2281c332809ee204c527286d054bb0d3fd9c6faa9',
  },
  'v6-none-sha256': {
    sha256: '8be3d3ac69cc86ee2b2bef2b961a8fa3e37deeaf338797e0cd9cb27b979d5b7d',
    verity: '4096 806 3301376 7f825c8e66ac32c44b3754b5afc79b2792049de284a8967642fb76afedc15c04',
  },
  'v6-parent': {
    sha256: 'f2cb9f71ff94b9e0c259bb196cac9204243e03c26df600d0737ad6a284911020',
    verity: '4096 279 1142784 72666f800bf1057fd3cb5c817307bd68c6cbac78f2c9f23313f29526688376cb',
  },
  'v6-prefetch-blob': {
    sha256: 'f0c37d6666a5d84273370a40ac262dcddd92453a65014dade73b3b08a2802964',
    verity: '4096 806 3301376 3eb169de03670852ca6eb3972aa3cde210a939c6a88b42516dcc3d097d12847c',
  },
  'v6-prefetch-fs': {
    sha256: 'd875ebb88c9da56ae960b1235e58a2a04cbeeb6308dc61a8fb149bdcbf8d4ad2',
    verity: '4096 806 3301376 ad1301ab3a223963e76cbdf9825507292e2f72ad2cac173e97fed39ac258abd6',
  },
  'v6-repeatable': {
    sha256: 'c81652aff59cf94dc259ea1b7d6acb610937a5901825b28af816b3e09d812d25',
    verity: '4096 806 3301376 a1d14590b577c2be7873527af495ab200f8f4165357a4f2e2106bb0fae90c027',
  },
  'v6-tar': {
    sha256: '4d277e5526708ae0e7f1505f3ad2d20b84bc7680e257fd283d8557d30e00f39d',
    verity: '4096 806 3301376 92a39d7ef3deed9616d0b8aebff3d000fe6b940630ae75a2005a7d443ce7aeb1',
  },
  'v6-tarfs': {
    sha256: 'fe9baded5b88ab18c3f904d620f30182c18192edde3f20b35216ad2ac416c80c',
    verity: '512 4584 2347008 85c3baf763a6d017725a1ff728f3f0ec90897954294e4cda321801f72a3bff79',
  },
  'v6-targz-ref': {
    sha256: '8407db3e50eeb682c3b2850bd7e76484fc9ed346c3ed641735b4f0e0384029fe',
    verity: '4096 806 3301376 be6326f30c390a503d3f6d80666af78566fc1a07fa4ce5b2429d29ce2283ae55',
  },
  'v6-targz': {
    sha256: 'ee04a43631c3ae6458faf79be24e82f0e83ae0cd8aae252d9863b1bc20a71473',
    verity: '4096 806 3301376 e3706676245e94bba842efcf6f63d47af147a24e64243a423e407a3eb4fe9391',
  },
  'v6-toc': {
    sha256: 'db04b930b8da60731cdfd890e6c5ae8d5ab1937a9f2d265810340a4006439d05',
    verity: '4096 806 3301376 4e640e9baf9e021109c9358d46ead107bec791eb09e51090ddb65eb78b0d2e86',
  },
  'v6-top-tar': {
    sha256: 'cffe000be4d342fe964d1dafc220fd4997c847f338606acf7d6c37b3dc4960da',
    verity: '4096 131 536576 58609063850e8e9478992a9dfd5d4f77e0cb33dcf1ea2676c0d32b97c597029b',
  },
  'v6-upper-tar': {
    sha256: 'cb7cd20ab1bd02e5b8fcb0da29d61f5f276b9ce2ac076bb564e043b7bfccfa00',
    verity: '4096 153 626688 14a26f268f5b39cd455b5ed66f3a5e8024d24dcdc8fdd62e0e0dc3e5b96a6c38',
  },
  'v6-wide': {
    sha256: 'f606b1f49049c0bfc22b8b52ed8c80a095c37b02ff23a585872db5b4c0cb783c',
    verity: '4096 912 3735552 2028f8743b8b6e710bb64a8c3ba0af240d0577ff1bcd06e715206b9be8f0fc1b',
  },
  'v6-zstd-blake3': {
    sha256: '4f46d2cd332ba1b131ce2eefbdfc13b2442eb0c6be9302d61a5f5b057010000c',
    verity: '4096 806 3301376 44f161795617f7f72b1cec3a612fc9c8f1653b62ca3872d402f62764d2d29b36',
  },
  'v6-zstd-sha256': {
    sha256: '7fd5b75e19138fc228b5d8a2ca1b530ef09a2ff9255f62626eacf03db6d282bb',
    verity: '4096 806 3301376 582907e7804fe586127d9a950f75de5dd33b1f858acb8a6b0dc709d135ea919d',
  },
};
