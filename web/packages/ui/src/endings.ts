// SPDX-License-Identifier: Apache-2.0
/** What the end of a connection means: a pause, or the end; and why it ended, in plain words. */
import { formatTime } from './format.js';
import { CLOSE_FILE_CHANGED, CLOSE_NORMAL, type SessionEnd } from './messages.js';

export interface Ending {
  title: string;
  text: string;
  /** Nothing went wrong. */
  calm: boolean;
  /** The file is no good any more: it must be chosen again. */
  forgetFile: boolean;
}

/**
 * Whether a connection that ended so was only the line's end, and the device keeps the drive for a
 * page that comes back.
 *
 * | code | |
 * |---|---|
 * | 1000 | final: the session has ended as it should |
 * | 1001 | final: platterd is stopping, and takes the drives out first; one that crashes, or is replaced while it runs, says nothing (1006) |
 * | 1002 to 1015, others below 4000 | come back: the line or something on its way failed; 1002 too, for a protocol broken once is no reason to take a drive from a machine |
 * | 4001 ejected, 4002 refused, 4003 in use, 4004 failed | final |
 * | 4005 | final for this file; another one may be chosen for the same drive |
 * | 4006 | final: the session is over |
 * | others from 4000 on | final: a device that says something new has something to say |
 *
 * Of what the page itself notices, silence (4101) and a broken protocol (4102) are pauses; the
 * person's goodbye (1000) and a changed file (4100) are not.
 */
export function mayComeBack({ cause, code }: Pick<SessionEnd, 'cause' | 'code'>): boolean {
  if (cause === 'silence' || cause === 'protocol') return true;
  return cause === 'device' && code < 4000 && code !== 1000 && code !== 1001;
}

/** Whether the device may not know that it is over, and would keep the drive in the machine. */
export function isUntold({ cause, code }: SessionEnd): boolean {
  return cause !== 'device' && code !== CLOSE_NORMAL && code !== CLOSE_FILE_CHANGED;
}

/** What to add to an ending when the device could not be told. */
export function describeUntold(keep: number): string {
  const time = formatTime(Math.ceil(keep / 1000));
  return `The device does not answer: it keeps the drive for another ${time}, unless you remove it here when the line is back.`;
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
    case 'time':
      return bad(
        'The drive is gone',
        `The line to ${host} was lost for longer than the device keeps a drive; check the network, then connect again.`,
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
    case 4005:
      return bad(
        'That is not the image in the drive',
        sentence(
          reason,
          'Choose the file that the machine has begun to read, or remove the drive.',
        ),
      );
    case 4006:
      return bad(
        'The drive is gone',
        `${sentence(reason, 'The device has ended the session meanwhile.')} Connect again to put it back in.`,
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
