// SPDX-License-Identifier: Apache-2.0
/**
 * The way to the far end: the part of a WebSocket that the server needs, so a WebSocket *is* one.
 * What comes in is handed to NbdServer.receive() by the owner.
 */
export interface BinarySocket {
  /**
   * Sends bytes, in order. They must be copied or gone when this returns, as with a WebSocket: the
   * server reuses its buffers.
   */
  send(bytes: Uint8Array<ArrayBuffer>): void;
  /** Bytes handed to send() that have not left yet. */
  readonly bufferedAmount: number;
}
