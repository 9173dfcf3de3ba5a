// SPDX-License-Identifier: Apache-2.0
/** Why a session ended, in plain words: what happened, and what to do now. */
import type { SessionEnd } from './messages.js';

export interface Ending {
  title: string;
  text: string;
  /** Nothing went wrong. */
  calm: boolean;
  /** The file is no good any more: it must be chosen again. */
  forgetFile: boolean;
}

/**
 * @param name the file's name
 * @param host the device's name, as in the address bar
 */
export function describeEnd(end: SessionEnd, name: string, host: string): Ending {
  switch (end.cause) {
    case 'person':
      return calm('Disconnected', 'The drive is out of the machine.');
    case 'file':
      return {
        ...bad(
          'The file changed on disk',
          `“${name}” was changed, moved or deleted while the machine used it, so the drive was taken out; choose the file again.`,
        ),
        forgetFile: true,
      };
    case 'silence':
      return bad(
        'The device went silent',
        `Nothing has come from ${host} for half a minute; check the network and the device, then connect again.`,
      );
    case 'protocol':
      return bad('The device cannot be understood', `${end.reason} ${VERSIONS}`);
    case 'device':
      return fromCode(end, host);
  }
}

const VERSIONS =
  'The page and the device may be of different versions: reload the page, then connect again.';

function fromCode({ code, reason, opened }: SessionEnd, host: string): Ending {
  switch (code) {
    case 1000:
      return calm('Finished', reason || 'The device ended the session; the drive is out.');
    case 1001:
      return bad(
        'The device is stopping',
        `${sentence(reason, 'Its program is shutting down or starting anew.')} Connect again when it is back.`,
      );
    case 4001:
      return calm(
        'Ejected by the machine',
        `${sentence(reason, 'The machine gave the drive back.')} Connect again to put it back in.`,
      );
    case 4002:
      return bad('The device refused this image', reason || 'It gave no reason; see its log.');
    case 4003:
      return bad(
        'The drive is in use',
        `${sentence(reason, 'Another page has put an image in.')} Try again when it is free.`,
      );
    case 4004:
      return bad(
        'Something failed on the device',
        `${sentence(reason, 'It gave no reason; see its log.')} Connect again, and if that does not help, see the device's log.`,
      );
    case 1002:
    case 1003:
    case 1007:
    case 1009:
      return bad('The device did not understand this page', `${sentence(reason, '')} ${VERSIONS}`);
    case 1005:
    case 1006:
      return opened
        ? bad(
            'The connection was lost',
            `The line to ${host} broke, and the drive is out; check the network, then connect again.`,
          )
        : bad(
            'No connection',
            `${host} did not take the connection; check that the device is on and that this address is right, then connect again.`,
          );
    default:
      return bad('The session ended', `${sentence(reason, `The device closed it, code ${code}.`)}`);
  }
}

/** The device's reason as a sentence, or another one. */
function sentence(reason: string, otherwise: string): string {
  const text = reason.trim() || otherwise;
  return text === '' || /[.!?]$/.test(text) ? text : `${text}.`;
}

function calm(title: string, text: string): Ending {
  return { title, text: text.trim(), calm: true, forgetFile: false };
}

function bad(title: string, text: string): Ending {
  return { title, text: text.trim(), calm: false, forgetFile: false };
}
