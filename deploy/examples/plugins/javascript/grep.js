// An example of a plugin: keeps the records whose value contains a text, and can mark or reject them. README.md in the
// directory above says what its settings are; the contract is in wit/.

const SETTINGS = ["needle", "mark", "reject", "retry"];
const KEY_END = 0, VALUE_END = 1, HEADERS_END = 2, FLAGS = 3, INDEX_WIDTH = 4;
const META_WIDTH = 2;
const VALUE_NULL = 2;

// The texts of the configuration, and their bytes in UTF-8.
let settings = {};

function configure(config) {
  const given = JSON.parse(config);
  for (const [path, text] of Object.entries(given)) {
    if (!SETTINGS.includes(path)) throw { path, message: "unknown setting, expected needle, mark, reject or retry" };
    if (typeof text !== "string") throw { path, message: `expected a text, got ${JSON.stringify(text)}` };
    if (text === "") throw { path, message: "expected a text, got an empty one" };
  }
  if (given.needle === undefined) throw { path: "", message: "missing setting needle: what a value has to contain" };
  return Object.fromEntries(Object.entries(given).map(([name, text]) => [name, { text, bytes: utf8(text) }]));
}

// QuickJS has the language alone, and so no TextEncoder.
function utf8(text) {
  const bytes = encodeURIComponent(text).replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Uint8Array.from(bytes, (char) => char.charCodeAt(0));
}

// Whether the bytes of a record's value contain those of a setting, where it is set.
function contains(data, from, to, setting) {
  if (setting === undefined) return false;
  const { bytes } = setting;
  const value = data.subarray(from, to);
  const last = value.length - bytes.length;
  for (let at = value.indexOf(bytes[0]); at >= 0 && at <= last; at = value.indexOf(bytes[0], at + 1)) {
    let n = 1;
    while (n < bytes.length && value[at + n] === bytes[n]) n++;
    if (n === bytes.length) return true;
  }
  return false;
}

function header(name, value) {
  const bytes = new Uint8Array(8 + name.length + value.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length, true);
  bytes.set(name, 4);
  view.setUint32(4 + name.length, value.length, true);
  bytes.set(value, 8 + name.length);
  return bytes;
}

// New records: those that were kept, each with one more header.
function mark({ index, meta, data }, kept) {
  const added = header(settings.mark.bytes, settings.needle.bytes);
  const records = {
    index: new Uint32Array(kept.length * INDEX_WIDTH),
    meta: [],
    data: new Uint8Array(data.length + kept.length * added.length),
  };
  let at = 0;
  kept.forEach((record, n) => {
    const row = record * INDEX_WIDTH;
    const begin = record === 0 ? 0 : index[row - INDEX_WIDTH + HEADERS_END];
    const moved = at - begin;
    records.data.set(data.subarray(begin, index[row + HEADERS_END]), at);
    records.data.set(added, index[row + HEADERS_END] + moved);
    at = index[row + HEADERS_END] + moved + added.length;
    records.index.set([index[row + KEY_END] + moved, index[row + VALUE_END] + moved, at, index[row + FLAGS]], n * INDEX_WIDTH);
    records.meta.push(...meta.slice(record * META_WIDTH, (record + 1) * META_WIDTH));
  });
  records.data = records.data.subarray(0, at);
  return { origin: Uint32Array.from(kept), records };
}

export const step = {
  init(config, _context) {
    settings = configure(config);
    return { ports: [], setsTime: false };
  },

  process(_input, batch) {
    const { index, data } = batch;
    const records = index.length / INDEX_WIDTH;
    const kept = [];
    const rejects = [];
    for (let n = 0; n < records; n++) {
      const [from, to] = [index[n * INDEX_WIDTH + KEY_END], index[n * INDEX_WIDTH + VALUE_END]];
      if (index[n * INDEX_WIDTH + FLAGS] & VALUE_NULL) continue;
      const why = ["reject", "retry"].find((name) => contains(data, from, to, settings[name]));
      if (why !== undefined) {
        const reason = `the value contains "${settings[why].text}", which \`${why}\` names`;
        rejects.push({ index: n, reason, retriable: why === "retry" });
      } else if (contains(data, from, to, settings.needle)) {
        kept.push(n);
      }
    }
    if (settings.mark !== undefined && kept.length > 0) {
      return { answer: { tag: "replaced", val: mark(batch, kept) }, rejects };
    }
    if (kept.length + rejects.length === records) return { answer: { tag: "unchanged" }, rejects };
    return { answer: { tag: "select", val: Uint32Array.from(kept) }, rejects };
  },
};
