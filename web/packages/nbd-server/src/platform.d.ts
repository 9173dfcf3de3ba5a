// SPDX-License-Identifier: Apache-2.0
// The few things of the platform that this library uses. Every browser, Worker and Node has them;
// naming them here keeps the whole DOM out of the library's reach.
declare function setTimeout(callback: () => void, milliseconds: number): number;
declare function clearTimeout(timer: number | undefined): void;

declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}

declare class TextDecoder {
  constructor(encoding?: string);
  decode(bytes: Uint8Array): string;
}
