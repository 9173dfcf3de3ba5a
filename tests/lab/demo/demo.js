// SPDX-License-Identifier: Apache-2.0
// The demo's page: the machine's screen by noVNC, and the steps, lit as the session goes on.
import RFB from './novnc/core/rfb.js';

const byId = (id) => document.getElementById(id);
let opened = false;

function showScreen(url) {
  const screen = byId('screen');
  const rfb = new RFB(screen, url);
  rfb.scaleViewport = true;
  rfb.addEventListener('connect', () => screen.classList.add('lit'));
  rfb.addEventListener('disconnect', () => {
    screen.classList.remove('lit');
    byId('dark').textContent = 'The demo has ended.';
  });
}

function showState({ slot, plugged }) {
  const medium = slot.medium;
  const steps = ['step-open', 'step-pick', 'step-boot'];
  const now = medium ? 'step-boot' : opened ? 'step-pick' : 'step-open';
  for (const step of steps) byId(step).classList.toggle('now', step === now);
  byId('light').classList.toggle('on', plugged);
  byId('state').textContent =
    plugged && medium ? `USB port: ${medium.name}` : `USB port: ${medium ? 'plugging in …' : 'empty'}`;
  const read = slot.counters.bytes_read / 1e6;
  byId('read').textContent = medium ? `${read.toFixed(1)} MB so far.` : '';
}

async function watch() {
  try {
    showState(await (await fetch('state.json')).json());
  } catch {
    byId('state').textContent = 'The demo has ended.';
    return;
  }
  setTimeout(watch, 1000);
}

byId('open').addEventListener('click', () => {
  opened = true;
});
byId('reset').addEventListener('click', () => fetch('reset', { method: 'POST' }));
const start = await (await fetch('start.json')).json();
byId('open').href = start.platter;
showScreen(start.screen);
watch();
