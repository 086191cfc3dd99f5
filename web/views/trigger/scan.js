// Finds positions in a JSON text. Browsers word syntax errors differently, and often
// without the position.

const string = /"(?:[^"\\\u0000-\u001f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const atom = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])/y;
const space = /[ \t\n\r]*/y;

/** scan reads JSON and calls at(path, offset) for each member, the path as in "name[0].family". It throws with line and column. */
function scan(text, at) {
  let i = 0;
  const fail = (expected) => {
    const before = text.slice(0, i).split("\n");
    const found = i < text.length ? `found ${JSON.stringify(/^[\w.+-]+|./su.exec(text.slice(i, i + 20))[0])}` : "the text ends";
    throw new SyntaxError(`line ${before.length}, column ${before.at(-1).length + 1}: expected ${expected}, ${found}`);
  };
  const read = (form, expected) => {
    form.lastIndex = i;
    const [found] = form.exec(text) ?? fail(expected);
    i += found.length;
    if (form !== space) read(space);
    return found;
  };
  const list = (close, item) => {
    read(/[[{]/y);
    for (let n = 0; n || text[i] !== close; n++) {
      if (n) read(/,/y, `, or ${close}`);
      item(n);
      if (text[i] === close) break;
    }
    read(/[\]}]/y);
  };
  const value = (path) => {
    switch (text[i]) {
      case "{":
        return list("}", () => {
          const start = i;
          const name = (path && `${path}.`) + JSON.parse(read(string, "a name in quotes"));
          at(name, start);
          read(/:/y, ":");
          value(name);
        });
      case "[":
        return list("]", (n) => {
          at(`${path}[${n}]`, i);
          value(`${path}[${n}]`);
        });
      case '"':
        return read(string, "a string closed on its line, without unknown escapes");
      default:
        return read(atom, "a value");
    }
  };
  read(space);
  value("");
  if (i < text.length) fail("the end of the text");
}

/** problemOf returns the syntax error of a text with its position, "" if the text is JSON. */
export function problemOf(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    try { scan(text, () => {}); } catch (placed) { if (placed instanceof SyntaxError) return placed.message; }
    return error.message;
  }
}

/** lineOf returns the line of the element that an expression such as Encounter.class[0].code names, or of the nearest parent that is there, or 0. */
export function lineOf(text, expression = "") {
  const places = new Map();
  try { scan(text, (path, offset) => places.set(path, offset)); } catch { /* places has the members before the error */ }
  for (let path = expression.replace(/^[^.]*\.?/, ""); path; path = path.replace(/(\[\d*\]|\.?[^.[\]]*)$/, "")) {
    if (places.has(path)) return text.slice(0, places.get(path)).split("\n").length;
  }
  return 0;
}
