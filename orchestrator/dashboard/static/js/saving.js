// Figures and tables saved as files. A figure is drawn by one function, on a canvas for PNG and on an SvgPen for SVG.

import { themed } from "./colours.js";
import { el } from "./dom.js";

const SCALE = 2;
// The name of SVG, not an address: nothing is loaded.
const SVG = ["http:", "", "www.w3.org", "2000", "svg"].join("/");

/** Have the browser save a file. */
export function download(name, content, type) {
  const href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** Rows of values as CSV, in which a spreadsheet takes no text for a formula. */
export function csv(rows) {
  const plain = (value) => (typeof value === "string" && /^[=+@\t\r-]/.test(value) && isNaN(value) ? `'${value}` : value);
  const quoted = (value) => `"${String(plain(value) ?? "").replaceAll('"', '""')}"`;
  return [...rows.map((row) => row.map(quoted).join(",")), ""].join("\r\n");
}

/** A choice of formats; `figure()` gives { name, width, height, draw(pen), rows } as it stands, the headers first. */
export function saveMenu(figure) {
  const kinds = [["", "Save as"], ["png", "PNG"], ["svg", "SVG"], ["csv", "CSV"]];
  const options = kinds.map(([value, text]) => el("option", { value }, text));
  const save = ({ target }) => {
    const found = figure();
    if (found && target.value) saveFigure(target.value, found);
    target.value = "";
  };
  return el("select", { class: "save", "aria-label": "Save the figure as", on: { change: save } }, options);
}

function saveFigure(kind, { name, width, height, draw, rows }) {
  const file = `${name.replace(/[^\p{L}\p{N}.-]+/gu, "-").replace(/^-|-$/g, "")}.${kind}`;
  if (kind === "csv") {
    download(file, csv(rows), "text/csv");
    return;
  }
  const canvas = el("canvas", { width: width * SCALE, height: height * SCALE });
  const pen = kind === "svg" ? new SvgPen(width, height) : canvas.getContext("2d");
  if (kind === "png") pen.scale(SCALE, SCALE);
  pen.fillStyle = themed("--page");
  pen.fillRect(0, 0, width, height);
  draw(pen);
  if (kind === "svg") download(file, pen.text(), "image/svg+xml");
  else canvas.toBlob((blob) => download(file, blob));
}

/** As much of a canvas's pen as figures here use, writing SVG. */
class SvgPen {
  constructor(width, height) {
    const defaults = { strokeStyle: "#000000", fillStyle: "#000000", lineWidth: 1, globalAlpha: 1, textAlign: "left" };
    Object.assign(this, defaults, { font: "12px sans-serif", dash: [], path: [], kept: [] });
    this.root = document.createElementNS(SVG, "svg");
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) {
      this.root.setAttribute(name, value);
    }
  }

  add(tag, attributes, text = "") {
    const element = document.createElementNS(SVG, tag);
    if (this.globalAlpha < 1) attributes.opacity = this.globalAlpha;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    this.root.append(element);
  }

  /** A colour that may end with its opacity, which not every reader of SVG knows. */
  paint(name, colour) {
    if (!/^#[\da-f]{8}$/i.test(colour)) return { [name]: colour };
    return { [name]: colour.slice(0, 7), [`${name}-opacity`]: (parseInt(colour.slice(7), 16) / 255).toFixed(3) };
  }

  beginPath() {
    this.path = [];
  }

  moveTo(x, y) {
    this.path.push(`M${short(x)} ${short(y)}`);
  }

  lineTo(x, y) {
    this.path.push(`L${short(x)} ${short(y)}`);
  }

  /** A whole circle. */
  arc(x, y, radius) {
    const half = (to) => `a${radius} ${radius} 0 1 0 ${to} 0`;
    this.path.push(`M${short(x - radius)} ${short(y)}${half(2 * radius)}${half(-2 * radius)}`);
  }

  stroke() {
    const line = { fill: "none", "stroke-width": this.lineWidth, ...this.paint("stroke", this.strokeStyle) };
    if (this.dash.length) line["stroke-dasharray"] = this.dash.join(" ");
    this.add("path", { d: this.path.join(""), ...line });
  }

  fill() {
    this.add("path", { d: this.path.join(""), ...this.paint("fill", this.fillStyle) });
  }

  fillRect(x, y, width, height) {
    this.add("rect", { x: short(x), y: short(y), width, height, ...this.paint("fill", this.fillStyle) });
  }

  letters(text, x, y, paint) {
    const [, weight = "400", size = "12"] = /^(?:(\d+) )?(\d+)px/.exec(this.font) ?? [];
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const font = { "font-family": "system-ui, sans-serif", "font-size": size, "font-weight": weight };
    this.add("text", { x: short(x), y: short(y), "text-anchor": anchor, ...font, ...paint }, text);
  }

  fillText(text, x, y) {
    this.letters(text, x, y, this.paint("fill", this.fillStyle));
  }

  strokeText(text, x, y) {
    this.letters(text, x, y, { fill: "none", "stroke-width": this.lineWidth, ...this.paint("stroke", this.strokeStyle) });
  }

  setLineDash(dash) {
    this.dash = dash;
  }

  text() {
    return new XMLSerializer().serializeToString(this.root);
  }
}

function short(value) {
  return Number(value.toFixed(2));
}
