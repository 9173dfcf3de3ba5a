// SPDX-License-Identifier: Apache-2.0
// One message after the other, never more than 8 MiB queued, as Platter's page sends; with nothing
// to answer and nobody to wait for.
const QUEUED_MAX = 8 << 20;
const HEAD = 28; // before the data in each message, as in a reply
const READ = 1 << 20;

onmessage = async ({ data: { bytes, message, file, url } }) => {
  const socket = new WebSocket(url, 'platter.media.1');
  const buffer = new Uint8Array(message).fill(165);
  let left = bytes;
  socket.onclose = ({ code }) => postMessage(left === 0 && code === 1000 ? 'sent' : `closed ${code}`);
  await new Promise((resolve) => {
    socket.onopen = resolve;
  });
  const next = file ? fileReader(file) : (target) => target;
  while (left > 0) {
    while (socket.bufferedAmount >= QUEUED_MAX) await new Promise((resolve) => setTimeout(resolve));
    const length = Math.min(left, message);
    await next(buffer.subarray(Math.min(HEAD, length), length));
    socket.send(buffer.subarray(0, length));
    left -= length;
  }
  socket.close(1000);
};

/** Fills one target after the other from the file, over and over, out of a stream, as the page does. */
function fileReader(file) {
  const open = () => new Response(file).body.getReader({ mode: 'byob' });
  let reader = open();
  let memory = new ArrayBuffer(READ);
  let block = new Uint8Array();
  return async (target) => {
    for (let at = 0; at < target.length; ) {
      if (block.length === 0) {
        const { value } = await reader.read(new Uint8Array(memory));
        if (value.length === 0) reader = open();
        memory = value.buffer;
        block = value;
      }
      const part = block.subarray(0, target.length - at);
      target.set(part, at);
      block = block.subarray(part.length);
      at += part.length;
    }
  };
}
