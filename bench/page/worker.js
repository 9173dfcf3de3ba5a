// SPDX-License-Identifier: Apache-2.0
// One reused buffer, one message after the other, never more than 8 MiB queued: how Platter's page
// sends, with nothing to read and nothing to answer.
const QUEUED_MAX = 8 << 20;

onmessage = ({ data: { bytes, message, url } }) => {
  const socket = new WebSocket(url, 'platter.media.1');
  const buffer = new Uint8Array(message).fill(165);
  let left = bytes;
  socket.onclose = ({ code }) => postMessage(left === 0 && code === 1000 ? 'sent' : `closed ${code}`);
  const more = () => {
    while (left > 0 && socket.bufferedAmount < QUEUED_MAX) {
      const length = Math.min(left, message);
      socket.send(buffer.subarray(0, length));
      left -= length;
    }
    if (left > 0) setTimeout(more);
    else socket.close(1000);
  };
  socket.onopen = more;
};
