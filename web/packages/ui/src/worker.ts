// SPDX-License-Identifier: Apache-2.0
// The Worker: owns the file and the socket of one session. A browser slows down the timers of a page
// in the background, but neither a Worker's nor its socket.
import type { FromWorker, ToWorker } from './messages.js';
import { Session } from './session.js';

let session: Session | undefined;

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.type === 'open') {
    session ??= new Session(data.url, data.file, (message: FromWorker) => {
      self.postMessage(message);
    });
  } else {
    session?.close();
  }
};
