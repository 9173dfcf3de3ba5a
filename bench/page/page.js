// SPDX-License-Identifier: Apache-2.0
// What bench/browser.mjs calls: sends `bytes` in messages of `message` bytes, in a Worker as
// Platter's page does, and is over when all of them have left.
function send(bytes, message) {
  return new Promise((resolve, reject) => {
    const worker = new Worker('worker.js');
    worker.onmessage = ({ data }) => (data === 'sent' ? resolve() : reject(new Error(data)));
    worker.postMessage({ bytes, message, url: `ws://${location.host}/sink` });
  });
}
globalThis.send = send;
