"""What bench.web runs in a page."""

from typing import Final

# Notes when a text `w17x` was first painted: after the frame that has it, as soon as the page gets to do anything else.
WATCH_NAMES: Final = """() => {
  window.painted = {};
  const found = text => { for (const [, number] of (text ?? '').matchAll(/w(\\d+)x/g)) note(number) };
  const note = number => {
    if (number in window.painted) return;
    window.painted[number] = 0;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => { window.painted[number] = Date.now() };
      channel.port2.postMessage(null);
    });
  };
  new MutationObserver(records => records.forEach(({target, addedNodes}) => {
    found(target.nodeType === Node.TEXT_NODE ? target.data : '');
    addedNodes.forEach(node => found(node.textContent));
  })).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
PAINTED: Final = "number => window.painted[number]"
# Returns frames a second while the longest list is scrolled by a row a frame.
SCROLL: Final = """async milliseconds => {
  const room = element => element.scrollHeight - element.clientHeight;
  const scrolls = element => ['auto', 'scroll'].includes(getComputedStyle(element).overflowY);
  const scroller = [document.scrollingElement, ...[...document.querySelectorAll('main *')].filter(scrolls)]
    .reduce((longest, element) => room(element) > room(longest) ? element : longest);
  if (room(scroller) < 10_000) throw new Error(`there is nothing to scroll: ${room(scroller)} px`);
  let frames = 0;
  const began = performance.now();
  while (performance.now() - began < milliseconds) {
    await new Promise(requestAnimationFrame);
    scroller.scrollTop += 40;
    frames += 1;
  }
  return frames / (performance.now() - began) * 1000;
}"""
