// Colours of curves, from the page's theme, told apart by people who see few colours; then by dashes.

import { inOrder } from "./format.js";

const LIGHT = "#0b62c4 #c2410c #0f7b4f #a3186b #6d4bc3 #8a6100 #00788c #b3261e #4b5563 #5b7a00".split(" ");
const DARK = "#6cb2ff #ff9e64 #57d9a3 #ff85c8 #b9a2ff #f2c744 #4fd6e8 #ff8a80 #b6bec9 #b5d84a".split(" ");
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

/** Whether the page is dark now. */
export function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

/** The colour and dash of the curve at `place`. */
export function lineStyle(place) {
  const colours = isDark() ? DARK : LIGHT;
  return { colour: colours[place % colours.length], dash: DASHES[Math.floor(place / colours.length) % DASHES.length] };
}

/** A colour with an opacity. */
export function faded(colour, opacity) {
  const byte = Math.round(opacity * 255);
  return `${colour}${byte.toString(16).padStart(2, "0")}`;
}

/** A variable of the style sheet. */
export function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Ends of a scale from good (blue) to bad (orange), of even lightness on either theme.
const SCALE_LIGHT = [[8, 81, 170], [60, 130, 150], [150, 150, 70], [205, 110, 20], [165, 40, 20]];
const SCALE_DARK = [[110, 185, 255], [90, 215, 200], [220, 220, 110], [255, 170, 90], [255, 115, 95]];

/** The colour at `share` (0 to 1) of the scale. */
export function scaleColour(share) {
  const stops = isDark() ? SCALE_DARK : SCALE_LIGHT;
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const before = Math.min(Math.floor(place), stops.length - 2);
  const mixed = stops[before].map((low, part) => Math.round(low + (stops[before + 1][part] - low) * (place - before)));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** The colour of each of these values: palette colours for few, else a scale in the order of the values. */
export function valueColours(values) {
  const order = inOrder(values);
  const few = order.length <= LIGHT.length;
  const places = new Map(order.map((value, at) => [value, at]));
  return (value) => (few ? lineStyle(places.get(value)).colour : scaleColour(places.get(value) / (order.length - 1)));
}
