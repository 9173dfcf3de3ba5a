// SPDX-License-Identifier: Apache-2.0
// The Worker: owns the file and the sockets of one session. A browser slows down the timers of a page
// in the background, but neither a Worker's nor its sockets.
import type { FromWorker, ToWorker } from './messages.js';
import { Session } from './session.js';

let session: Session | undefined;

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case 'open':
      session ??= new Session({
        ...data,
        tell: (message: FromWorker) => self.postMessage(message),
      });
      break;
    case 'retry':
      session?.retry();
      break;
    case 'close':
      session?.close();
      break;
  }
};
