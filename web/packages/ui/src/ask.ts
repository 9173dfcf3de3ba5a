// SPDX-License-Identifier: Apache-2.0
/** Questions to the person that something hangs on: a box over the page, which the keyboard cannot leave. */
import { h } from './dom.js';

/** Resolves with whether the person presses `yes`; Escape and leaveQuestion() are a no. */
export function ask(question: string, yes: string): Promise<boolean> {
  const answer = (text: string, value: string, look: string) =>
    h('button', { type: 'button', class: look, click: () => box.close(value) }, text);
  const box: HTMLDialogElement = h(
    'dialog',
    {},
    h('p', {}, question),
    h(
      'div',
      { class: 'actions' },
      answer('Keep it', '', 'button'),
      answer(yes, 'yes', 'button main'),
    ),
  );
  document.body.append(box);
  box.showModal();
  return new Promise((resolve) => {
    box.addEventListener('close', () => {
      box.remove();
      resolve(box.returnValue === 'yes');
    });
  });
}

/** What was asked has settled itself. */
export function leaveQuestion(): void {
  document.querySelector('dialog')?.close();
}
