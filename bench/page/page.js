// SPDX-License-Identifier: Apache-2.0
// What bench/rows_browser.py calls: sends `bytes` in messages of `message` bytes, in a Worker as
// Platter's page does, and is over when all of them have left. `fromFile`: the bytes are those of
// the file picked, read as the page reads it; else they are any.
function send(bytes, message, fromFile) {
  const file = fromFile ? document.querySelector('#file').files[0] : undefined;
  return new Promise((resolve, reject) => {
    const worker = new Worker('worker.js');
    worker.onmessage = ({ data }) => (data === 'sent' ? resolve() : reject(new Error(data)));
    worker.postMessage({ bytes, message, file, url: `ws://${location.host}/sink` });
  });
}
globalThis.send = send;
