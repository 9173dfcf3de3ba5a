// SPDX-License-Identifier: Apache-2.0
// Serves a local file through the browser's own NBD server library over a unix or TCP socket, so
// that any NBD client can check the library. For tests; no part of the page.
//
//   node tools/serve-socket.mjs --listen unix:PATH | tcp:HOST:PORT  --file FILE
//        [--bmcweb] [--messages] [--name EXPORT]
//
// --bmcweb: within the limits of OpenBMC's web server. --messages: each message that is sent comes after
// its length in 4 bytes, for whoever wants to see where they are cut.
//
// Prints "listening" when it does, and a line for each connection that ends. SIGTERM stops it.
import { open, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { bundle } from './bundle.mjs';

const { BMCWEB_LIMITS, FileStore, NbdServer } = await loadLibrary();

/** The library from its source, bundled in memory. */
async function loadLibrary() {
  const { outputFiles } = await bundle({
    entryPoints: ['packages/nbd-server/src/index.ts'],
    format: 'esm',
    write: false,
  });
  const code = Buffer.from(outputFiles[0].contents).toString('base64');
  return import(`data:text/javascript;base64,${code}`);
}

/** A local file with the face of a browser's File: size and date are those of the choosing. */
async function chooseFile(path) {
  const { size, mtimeMs } = await stat(path);
  const handle = await open(path);
  const slice = (start, end) => ({
    async arrayBuffer() {
      const now = await handle.stat();
      if (now.mtimeMs !== mtimeMs) throw new DOMException('changed', 'NotReadableError');
      const data = new Uint8Array(end - start);
      const { bytesRead } = await handle.read(data, 0, data.length, start);
      return data.buffer.slice(0, bytesRead);
    },
  });
  return { size, lastModified: mtimeMs, slice };
}

/** A node socket with the face of a WebSocket: send() has copied the bytes when it returns. */
function asBinarySocket(socket, messages) {
  return {
    send(bytes) {
      const head = Buffer.alloc(messages ? 4 : 0);
      if (messages) head.writeUInt32BE(bytes.length);
      socket.write(Buffer.concat([head, bytes]));
    },
    get bufferedAmount() {
      return socket.writableLength;
    },
  };
}

function serve(socket, file, options, messages) {
  const server = new NbdServer({
    socket: asBinarySocket(socket, messages),
    store: new FileStore(file, {
      onChanged: (error) => console.log(`changed: ${error.sign}`),
    }),
    ...options,
    onEnd: ({ kind, message }) => {
      console.log(`${kind}: ${message}`);
      socket.end();
    },
  });
  socket.on('data', (bytes) => server.receive(bytes));
  socket.on('error', () => server.stop());
  socket.on('close', () => server.stop());
  server.start();
}

function listenAddress(text) {
  if (text?.startsWith('unix:')) return { path: text.slice(5) };
  const match = /^tcp:(.*):(\d+)$/.exec(text ?? '');
  if (!match) throw new Error('--listen wants unix:PATH or tcp:HOST:PORT');
  return { host: match[1], port: Number(match[2]) };
}

const { values } = parseArgs({
  options: {
    listen: { type: 'string' },
    file: { type: 'string' },
    name: { type: 'string' },
    bmcweb: { type: 'boolean' },
    messages: { type: 'boolean' },
  },
});
const options = values.bmcweb ? { ...BMCWEB_LIMITS } : {};
if (values.name) options.exportName = values.name;
const address = listenAddress(values.listen);
const file = await chooseFile(values.file);
const listener = createServer((socket) => serve(socket, file, options, values.messages));
listener.listen(address, () => console.log('listening'));
process.on('SIGTERM', () => process.exit(0));
