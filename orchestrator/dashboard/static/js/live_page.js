// What all pages do that show an answer of the server and hear of its changes.

import { get } from "./api.js";
import { listen } from "./stream.js";

/** A subclass has `open(found)`, `news(content)`, and `renew(found)` where an answer asked for again is no news. */
export class LivePage {
  constructor(root, { id, server, connection }) {
    Object.assign(this, { root, id, server, connection });
  }

  /** Show what `path` answers, then hear of `topic`, which is named like it unless it is given. */
  async follow(path, topic = path, query = () => ({})) {
    this.path = path;
    const found = await get(path);
    if (this.isOver) return;
    this.open(found);
    const onState = (state) => this.connection.state(state);
    this.stream = listen(topic, query, (name, content) => this.hear(name, content), onState);
  }

  renew(found) {
    this.news(found);
  }

  hear(name, content) {
    if (name === "trouble") this.connection.trouble(content);
    else if (name === "reload") this.reload();
    else if (name !== "hello") {
      this.connection.fine();
      this.news(content);
    }
  }

  async reload() {
    try {
      const found = await get(this.path);
      if (this.isOver) return;
      this.connection.fine();
      this.renew(found);
    } catch (error) {
      this.connection.trouble({ error: error.message, hint: error.hint });
    }
  }

  destroy() {
    this.isOver = true;
    this.stream?.close();
  }
}

/** Draw a part of a page anew; a link in it, or what has an id, keeps the focus. */
export function redrawn(root, draw) {
  const { id, href } = root.contains(document.activeElement) ? document.activeElement : {};
  draw();
  if (id) document.getElementById(id)?.focus();
  else if (href) [...root.querySelectorAll("a[href]")].find((link) => link.href === href)?.focus();
}
