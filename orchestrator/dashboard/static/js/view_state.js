// What a page shows stands in its address: a link that is copied, or a page that is loaded anew, shows the same.

/** The value of `name` in the address, or `otherwise`. */
export function read(name, otherwise = "") {
  return new URLSearchParams(location.search).get(name) ?? otherwise;
}

/** A weight from 0 to less than 1 of the address; 0 for whatever is none. */
export function readWeight(name) {
  const weight = Number(read(name, "0"));
  return weight > 0 && weight < 1 ? weight : 0;
}

/** Two rising numbers, as a stretch of x; null for whatever is none. */
export function readRange(name) {
  const [low, high] = read(name).split(",").map(Number);
  return low < high ? [low, high] : null;
}

/** Keep a stretch of x, to five digits of its width. */
export function writeRange(name, range) {
  const digits = range && Math.max(0, 5 - Math.ceil(Math.log10(range[1] - range[0])));
  write({ [name]: range ? range.map((edge) => Number(edge.toFixed(Math.min(digits, 20)))).join(",") : "" });
}

/** Whether a switch is on. */
export function isOn(name) {
  return read(name) === "1";
}

/** Put values into the address; what is empty, false or at its `defaults` is left out. */
export function write(values, defaults = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    const text = value === true ? "1" : value === false ? "" : String(value ?? "");
    if (text === "" || text === String(defaults[name] ?? "")) query.delete(name);
    else query.set(name, text);
  }
  const search = query.toString();
  history.replaceState(history.state, "", location.pathname + (search ? `?${search}` : ""));
}
