// SPDX-License-Identifier: Apache-2.0
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { CD_SIZE_MAX, IMAGE_HEAD_LENGTH, inspectImage, judgeImage } from '../src/image-kind.js';

type Patch = [at: number, bytes: string | number[]];

function head(...patches: Patch[]): Uint8Array {
  const bytes = new Uint8Array(IMAGE_HEAD_LENGTH);
  for (const [at, data] of patches) {
    bytes.set(typeof data === 'string' ? Buffer.from(data, 'latin1') : data, at);
  }
  return bytes;
}

const ISO: Patch = [32768, '\x01CD001\x01'];
const EL_TORITO: Patch = [34816, '\0CD001\x01EL TORITO SPECIFICATION'];
const UDF: Patch = [32768, '\0BEA01\x01'];
const MBR: Patch = [510, [0x55, 0xaa]];
const PARTITION: Patch = [450, [0x0c]];

describe('what is offered', () => {
  const cases: [string, Uint8Array, number, string, string][] = [
    ['ISO', head(ISO), 1e9, 'cd', 'CD image'],
    ['bootable ISO', head(ISO, EL_TORITO), 1e9, 'cd', 'bootable CD image'],
    ['hybrid ISO', head(ISO, EL_TORITO, MBR, PARTITION), 1e9, 'cd', 'bootable hybrid CD image'],
    ['the biggest CD', head(ISO), CD_SIZE_MAX, 'cd', 'CD image'],
    ['too big a CD', head(ISO), CD_SIZE_MAX + 1, 'disk', 'CD image'],
    ['too big a hybrid', head(ISO, MBR, PARTITION), 4e9, 'disk', 'hybrid CD image'],
    ['UDF', head(UDF), 1e9, 'cd', 'CD image'],
    ['MBR', head(MBR, PARTITION), 1e9, 'disk', 'disk image with MBR partitions'],
    ['GPT', head(MBR, PARTITION, [512, 'EFI PART']), 1e9, 'disk', 'disk image with GPT partitions'],
    [
      'GPT of 4 KiB sectors',
      head([4096, 'EFI PART']),
      1e9,
      'disk',
      'disk image with GPT partitions',
    ],
    ['FAT', head(MBR, [54, 'FAT16   ']), 1e9, 'disk', 'disk image with a FAT file system'],
    ['NTFS', head(MBR, [3, 'NTFS    ']), 1e9, 'disk', 'disk image with an NTFS file system'],
    ['ext4', head([1080, [0x53, 0xef]]), 1e9, 'disk', 'disk image with a Linux file system'],
    ['zeroes', head(), 1e9, 'disk', 'raw data'],
    ['one sector', new Uint8Array(512), 512, 'disk', 'raw data'],
  ];
  for (const [name, bytes, size, suggestion, what] of cases) {
    test(name, () => {
      expect(judgeImage(bytes, size)).toMatchObject({ ok: true, suggestion, what });
    });
  }

  test('a CD too big for a CD drive says so', () => {
    expect(judgeImage(head(ISO), 3e9).note).toContain('2.36 GB');
    expect(judgeImage(head(ISO, MBR, PARTITION), 3e9).note).toContain('as a disk too');
  });
});

describe('what is refused, by content', () => {
  const cases: [string, Patch][] = [
    ['an xz archive', [0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]]],
    ['a gzip archive', [0, [...gzipSync('x').subarray(0, 10)]]],
    ['a zip archive', [0, 'PK\x03\x04\x14']],
    ['a zstd archive', [0, [0x28, 0xb5, 0x2f, 0xfd]]],
    ['a bzip2 archive', [0, 'BZh91AY&SY']],
    ['a 7-Zip archive', [0, [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]]],
    ['a RAR archive', [0, 'Rar!\x1a\x07\x01\0']],
    ['a tar archive', [257, 'ustar\x0000']],
    ['a qcow2 image', [0, 'QFI\xfb\0\0\0\x03']],
    ['a VMDK image', [0, 'KDMV\x01']],
    ['a VMDK description', [0, '# Disk DescriptorFile\nversion=1']],
    ['a VHD image', [0, 'conectix']],
    ['a VHDX image', [0, 'vhdxfile']],
    ['a VDI image', [64, [0x7f, 0x10, 0xda, 0xbe]]],
    ['a raw CD dump (.bin)', [0, [0, ...Array<number>(10).fill(255), 0, 0, 2, 0, 1]]],
  ];
  for (const [what, patch] of cases) {
    test(what, () => {
      const verdict = judgeImage(head(patch), 1e9);
      expect(verdict).toMatchObject({ ok: false, what });
      expect(verdict.refuse).toMatch(/^This is .*; (unpack|convert) it first.*\.$/);
    });
  }

  test('an empty file, and less than a sector', () => {
    expect(judgeImage(new Uint8Array(), 0).refuse).toContain('empty');
    expect(judgeImage(new Uint8Array(100), 100).refuse).toContain('512 bytes');
  });

  test('a short file of each length breaks nothing', () => {
    const whole = head(ISO, EL_TORITO, MBR, PARTITION);
    for (let length = 0; length <= whole.length; length += 509) {
      expect(judgeImage(whole.subarray(0, length), length)).toHaveProperty('ok', length >= 512);
    }
  });
});

test('inspectImage reads the head of a file only', async () => {
  const bytes = head(ISO);
  const file = new Blob([bytes as Uint8Array<ArrayBuffer>, new Uint8Array(1 << 20)]);
  expect(await inspectImage(file)).toMatchObject({ suggestion: 'cd' });
});
