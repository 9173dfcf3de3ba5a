// SPDX-License-Identifier: Apache-2.0
export type { ByteStream } from './file-run.js';
export {
  FileChangedError,
  type FileChangeSign,
  type FileLike,
  FileStore,
  type FileStoreOptions,
} from './file-store.js';
export { type ImageVerdict, inspectImage, judgeImage } from './image-kind.js';
export {
  BMCWEB_LIMITS,
  MediaSocket,
  type MediaSocketClose,
  type MediaSocketOptions,
} from './media-socket.js';
export { type NbdCounters, type NbdEnd, NbdServer, type NbdServerOptions } from './server.js';
export type { BinarySocket } from './socket.js';
export type { BlockStore } from './store.js';
