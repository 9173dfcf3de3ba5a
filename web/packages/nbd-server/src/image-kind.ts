// SPDX-License-Identifier: Apache-2.0
/**
 * What kind of image a file is, told by its content, never by its name.
 *
 * A drive shows the machine the file's bytes as they are. So an archive, a compressed image or the
 * private format of a virtual machine would show up as a drive full of noise: such a file is refused
 * with one sentence that says how to get at the image inside.
 */
import type { FileLike } from './file-store.js';

/** How many bytes of a file's start judgeImage() wants to see. */
export const IMAGE_HEAD_LENGTH = 64 * 1024;

/** What the kernel's USB mass-storage gadget can show as a CD: 1,151,999 sectors. */
export const CD_SIZE_MAX = 1_151_999 * 2048;

export interface ImageVerdict {
  /** False: do not serve this; `refuse` says why and what to do. */
  ok: boolean;
  /** What it is, as a short phrase: "bootable CD image". */
  what: string;
  /** How to offer it unless the person knows better. */
  suggestion: 'disk' | 'cd';
  /** One sentence, when not `ok`. */
  refuse?: string;
  /** One sentence of advice, when there is any. */
  note?: string;
}

interface Signature {
  at: number;
  bytes: string | number[];
  what: string;
  advice: string;
}

const UNPACK = 'unpack it first, then choose the image inside';
const CONVERT = 'convert it first: qemu-img convert -O raw OLD NEW.img';

const FOREIGN: readonly Signature[] = [
  { at: 0, bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], what: 'an xz archive', advice: UNPACK },
  { at: 0, bytes: [0x1f, 0x8b], what: 'a gzip archive', advice: UNPACK },
  { at: 0, bytes: 'PK\x03\x04', what: 'a zip archive', advice: UNPACK },
  { at: 0, bytes: [0x28, 0xb5, 0x2f, 0xfd], what: 'a zstd archive', advice: UNPACK },
  { at: 0, bytes: 'BZh', what: 'a bzip2 archive', advice: UNPACK },
  { at: 0, bytes: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], what: 'a 7-Zip archive', advice: UNPACK },
  { at: 0, bytes: 'Rar!\x1a\x07', what: 'a RAR archive', advice: UNPACK },
  { at: 0, bytes: [0x04, 0x22, 0x4d, 0x18], what: 'an lz4 archive', advice: UNPACK },
  { at: 0, bytes: 'LZIP', what: 'an lzip archive', advice: UNPACK },
  { at: 257, bytes: 'ustar', what: 'a tar archive', advice: UNPACK },
  { at: 0, bytes: 'MSWIM\0\0\0', what: 'a Windows image archive (WIM)', advice: UNPACK },
  { at: 0, bytes: 'QFI\xfb', what: 'a qcow2 image', advice: CONVERT },
  { at: 0, bytes: 'QED\0', what: 'a QED image', advice: CONVERT },
  { at: 0, bytes: 'KDMV', what: 'a VMDK image', advice: CONVERT },
  { at: 0, bytes: 'COWD', what: 'a VMDK image', advice: CONVERT },
  { at: 0, bytes: '# Disk DescriptorFile', what: 'a VMDK description', advice: CONVERT },
  { at: 0, bytes: 'conectix', what: 'a VHD image', advice: CONVERT },
  { at: 0, bytes: 'vhdxfile', what: 'a VHDX image', advice: CONVERT },
  { at: 64, bytes: [0x7f, 0x10, 0xda, 0xbe], what: 'a VDI image', advice: CONVERT },
  { at: 0, bytes: 'WithoutFreeSpace', what: 'a Parallels image', advice: CONVERT },
  { at: 0, bytes: 'WithouFreSpacExt', what: 'a Parallels image', advice: CONVERT },
  {
    at: 0,
    bytes: [0x00, ...Array<number>(10).fill(0xff), 0x00],
    what: 'a raw CD dump (.bin)',
    advice: 'convert it first: bchunk FILE.bin FILE.cue NEW',
  },
];

/** Reads the file's start and judges it. @throws whatever reading the file throws */
export async function inspectImage(file: FileLike): Promise<ImageVerdict> {
  const head = await file.slice(0, Math.min(file.size, IMAGE_HEAD_LENGTH)).arrayBuffer();
  return judgeImage(new Uint8Array(head), file.size);
}

/**
 * @param head the first IMAGE_HEAD_LENGTH bytes, or all of a shorter file
 * @param size the whole file's size in bytes
 */
export function judgeImage(head: Uint8Array, size: number): ImageVerdict {
  if (size < 512) {
    const what = size === 0 ? 'empty' : 'smaller than one sector of 512 bytes';
    return refuse('not an image', `This file is ${what}; choose a disk or CD image.`);
  }
  const foreign = FOREIGN.find(({ at, bytes }) => hasAt(head, at, bytes));
  if (foreign) {
    const { what, advice } = foreign;
    return refuse(what, `This is ${what}, which the machine could not read; ${advice}.`);
  }
  return isDisc(head) ? judgeDisc(head, size) : judgeDisk(head);
}

function refuse(what: string, sentence: string): ImageVerdict {
  return { ok: false, what, suggestion: 'disk', refuse: sentence };
}

/** An ISO 9660 file system, or UDF without one: volume descriptors from sector 16 on. */
function isDisc(head: Uint8Array): boolean {
  return hasAt(head, 32769, 'CD001') || hasAt(head, 32769, 'BEA01');
}

function judgeDisc(head: Uint8Array, size: number): ImageVerdict {
  const boots = hasElTorito(head);
  const isHybrid = hasPartitionTable(head);
  const what = `${boots ? 'bootable ' : ''}${isHybrid ? 'hybrid ' : ''}CD image`;
  if (size <= CD_SIZE_MAX) {
    const note = isHybrid ? { note: 'It works as a disk just as well.' } : {};
    return { ok: true, what, suggestion: 'cd', ...note };
  }
  const note = isHybrid
    ? 'It is too big for a USB CD drive (2.36 GB), and made to work as a disk too.'
    : 'It is too big for a USB CD drive (2.36 GB); as a disk it may not boot.';
  return { ok: true, what, suggestion: 'disk', note };
}

function judgeDisk(head: Uint8Array): ImageVerdict {
  if (hasAt(head, 512, 'EFI PART') || hasAt(head, 4096, 'EFI PART')) {
    return { ok: true, what: 'disk image with GPT partitions', suggestion: 'disk' };
  }
  if (hasAt(head, 54, 'FAT') || hasAt(head, 82, 'FAT32') || hasAt(head, 3, 'EXFAT')) {
    return { ok: true, what: 'disk image with a FAT file system', suggestion: 'disk' };
  }
  if (hasAt(head, 3, 'NTFS')) {
    return { ok: true, what: 'disk image with an NTFS file system', suggestion: 'disk' };
  }
  if (hasPartitionTable(head)) {
    return { ok: true, what: 'disk image with MBR partitions', suggestion: 'disk' };
  }
  if (hasAt(head, 1080, [0x53, 0xef])) {
    return { ok: true, what: 'disk image with a Linux file system', suggestion: 'disk' };
  }
  return {
    ok: true,
    what: 'raw data',
    suggestion: 'disk',
    note: 'No partition table or file system was recognised; the machine sees it as it is.',
  };
}

/** The boot record among the volume descriptors. */
function hasElTorito(head: Uint8Array): boolean {
  for (let at = 16 * 2048; at + 2048 <= head.length; at += 2048) {
    if (hasAt(head, at, '\0CD001\x01EL TORITO SPECIFICATION')) return true;
  }
  return false;
}

/** The signature of a Master Boot Record and at least one entry that is in use. */
function hasPartitionTable(head: Uint8Array): boolean {
  if (!hasAt(head, 510, [0x55, 0xaa])) return false;
  return [446, 462, 478, 494].some((entry) => head[entry + 4] !== 0);
}

function hasAt(bytes: Uint8Array, at: number, wanted: string | readonly number[]): boolean {
  if (bytes.length < at + wanted.length) return false;
  for (let i = 0; i < wanted.length; i++) {
    const byte = typeof wanted === 'string' ? wanted.charCodeAt(i) : wanted[i];
    if (bytes[at + i] !== byte) return false;
  }
  return true;
}
