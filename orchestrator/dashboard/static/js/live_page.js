// What all pages do that show an answer of the server and hear of its changes.

import { get } from "./api.js";
import { listen } from "./stream.js";

/**
 * A subclass has `open(found)`, `news(content)`, and `renew(found)` where an answer asked for again is no news. When the
 * page is left, `signal` is aborted: with it end its requests, timers and listeners.
 */
export class LivePage {
  constructor(root, { id, server, connection, signal }) {
    Object.assign(this, { root, id, server, connection, signal });
  }

  /** Show what `path` answers, then hear of `topic`, which is named like it unless it is given. */
  async follow(path, topic = path, query = () => ({})) {
    this.path = path;
    this.open(await get(path, this.signal));
    listen(topic, query, (name, content) => this.hear(name, content), this.connection.state, this.signal);
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
      const found = await get(this.path, this.signal);
      this.connection.fine();
      this.renew(found);
    } catch (error) {
      if (!this.signal.aborted) this.connection.trouble({ error: error.message, hint: error.hint });
    }
  }
}
