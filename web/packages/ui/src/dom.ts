// SPDX-License-Identifier: Apache-2.0
/** Making elements, without a framework. */

type Props = Record<string, string | number | boolean | ((event: Event) => void) | undefined>;
type Child = Node | string;

/** An element with attributes (functions become listeners, `true` an empty attribute) and children. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  setProps(element, props);
  element.append(...children);
  return element;
}

/** The same for SVG. */
export function svg<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  props: Props = {},
  ...children: Child[]
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  setProps(element, props);
  element.append(...children);
  return element;
}

function setProps(element: Element, props: Props): void {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
}

/** Sets a text only when it is another one, so that screen readers hear only news. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
