// Round numbers for the ticks of axes.

/** At most about `most` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten. */
export function niceTicks(low, high, most = 6) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high * (1 + 1e-12) + step * 1e-9; at += 1) {
    found.push(Number((at * step).toPrecision(12)));
  }
  return found;
}

/** Ticks of a logarithmic axis: 1, 2 and 5 of each power of ten; over less than a decade, evenly spaced ones. */
export function logTicks(low, high) {
  if (high / low < 10) return niceTicks(low, high).filter((tick) => tick > 0);
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const times = last - first > 5 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = first; power <= last; power += 1) {
    for (const one of times) found.push(Number(`${one}e${power}`));
  }
  return found.filter((tick) => tick >= low && tick <= high);
}
