// The filter of the runs: words that must occur, and conditions such as `depth=4 val_loss<3.5 error~memory dataset=a|b`.

const CONDITION = /^([\w.]+)(<=|>=|!=|=|<|>|~)(.*)$/;

/** Words and conditions; quotes keep blanks together. */
export function filterTerms(text) {
  return [...text.matchAll(/(?:[^\s"]+|"[^"]*")+/g)].map((match) => match[0].replaceAll('"', ""));
}

/**
 * A function that says whether a run passes, and what could not be understood. `columns` maps a name to what reads its
 * value from a run; `words(run)` is the text in which bare words are looked for.
 */
export function parseFilter(text, columns, words) {
  const tests = [];
  const problems = [];
  for (const term of filterTerms(text)) {
    const condition = CONDITION.exec(term);
    if (!condition) {
      const wanted = term.toLowerCase();
      tests.push((run) => words(run).includes(wanted));
    } else if (!columns.has(condition[1])) {
      problems.push(`there is no column '${condition[1]}'`);
    } else {
      tests.push(comparison(columns.get(condition[1]), condition[2], condition[3]));
    }
  }
  return { passes: (run) => tests.every((test) => test(run)), problems };
}

function comparison(read, sign, wanted) {
  const asNumber = wanted.trim() === "" ? NaN : Number(wanted);
  const lower = wanted.toLowerCase();
  const same = (value) =>
    typeof value === "number" && !Number.isNaN(asNumber)
      ? value === asNumber
      : lower.split("|").includes(String(value ?? "").toLowerCase());
  const tests = {
    "=": same,
    "!=": (value) => !same(value),
    "~": (value) => String(value ?? "").toLowerCase().includes(lower),
    "<": (value) => typeof value === "number" && value < asNumber,
    ">": (value) => typeof value === "number" && value > asNumber,
    "<=": (value) => typeof value === "number" && value <= asNumber,
    ">=": (value) => typeof value === "number" && value >= asNumber,
  };
  return (run) => tests[sign](read(run));
}
