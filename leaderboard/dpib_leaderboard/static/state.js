// The whole state of a view is its address: #/page/argument?key=value. Nothing else is remembered.

const LISTS = new Set(["noise", "pre", "family", "level", "cols"]);

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/").map(decode);
  const state = {};
  for (const [key, value] of new URLSearchParams(query)) state[key] = LISTS.has(key) ? value.split(",").filter(Boolean) : value;
  return { page: page || "overview", argument: rest.join("/"), state };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function format(page, argument, state = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    const text = Array.isArray(value) ? value.join(",") : value;
    if (text !== undefined && text !== null && text !== "" && text !== false) query.set(key, text === true ? "1" : text);
  }
  const tail = query.toString().replaceAll("%2C", ",");
  return `#/${page}${argument ? `/${encodeURIComponent(argument)}` : ""}${tail ? `?${tail}` : ""}`;
}
