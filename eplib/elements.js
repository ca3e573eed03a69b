// Elements of a page, for every explorer: this stands before its script.
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "role" || key.includes("-")) node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

// Something to operate. JupyterLab would take its arrow keys without the attribute.
function control(tag, properties) {
  return make(tag, { ...properties, "data-lm-suppress-shortcuts": "true" });
}
