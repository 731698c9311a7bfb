"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const percent = (p) => (p === null ? "–" : (p > 0 && p < 0.005 ? "<1" : p >= 0.995 && p < 1 ? ">99" : Math.round(100 * p)) + "%");
  const level = (p) => (p === null ? "unknown" : p >= 0.8 ? "high" : p >= 0.5 ? "medium" : "low");
  const node = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const chip = (colour) => {
    const made = node("span", "chip");
    made.style.setProperty("--c", colour);
    return made;
  };

  function images() {
    const NAME = 0, KIND = 1, SURE = 2, OUTLIER = 3, REGIONS = 4, TRUE = 5, THUMB = 6;
    const PAGE = 50;
    const table = byId("table");
    const columns = [["Image", NAME], ["Kind", KIND], ["Confidence", SURE], ["Outlier score", OUTLIER], ["Regions", REGIONS]];
    if (data.truth) columns.push(["True type", TRUE]);
    const thumbs = data.thumbnails.length > 0;
    const words = new Intl.Collator("en", { numeric: true });
    let sorted = NAME, direction = 1, page = 0, rows = data.images;

    const head = table.tHead.insertRow();
    if (thumbs) head.append(node("td", "thumb"));
    for (const [label, key] of columns) {
      const cell = node("th", key === OUTLIER || key === REGIONS ? "number" : "");
      const button = node("button", "", label);
      cell.scope = "col";
      button.type = "button";
      button.addEventListener("click", () => {
        direction = sorted === key ? -direction : key === OUTLIER || key === REGIONS ? -1 : 1;
        sorted = key;
        update();
      });
      cell.dataset.key = key;
      cell.append(button);
      head.append(cell);
    }

    function compare(a, b) {
      let x = a[sorted], y = b[sorted];
      if (sorted === KIND) { x = data.classes[x][1]; y = data.classes[y][1]; }
      if (x === y) return 0;
      if (x === null || y === null) return x === null ? 1 : -1;
      return direction * (typeof x === "string" ? words.compare(x, y) : x - y);
    }

    function row(image) {
      const made = node("tr", thumbs ? "" : "no-thumb");
      const add = (className, label) => {
        const cell = node("td", className);
        if (label) cell.dataset.label = label;
        made.append(cell);
        return cell;
      };
      if (thumbs) {
        const cell = add("thumb");
        if (image[THUMB] >= 0) {
          const picture = node("img");
          picture.alt = "";
          picture.src = data.thumbnails[image[THUMB]];
          cell.append(picture);
        }
      }
      const name = add("name");
      name.dir = "auto";
      name.textContent = image[NAME];
      const [, kind, colour] = data.classes[image[KIND]];
      add("kind").append(chip(colour), kind);
      const sure = node("span", "sure " + level(image[SURE]));
      const meter = node("span", "meter"), fill = node("i");
      fill.style.width = 100 * (image[SURE] || 0) + "%";
      meter.append(fill);
      sure.append(meter, node("b", "", level(image[SURE])), " " + percent(image[SURE]));
      add("confidence").append(sure);
      add("number extra", "outlier score").textContent = image[OUTLIER] === null ? "–" : image[OUTLIER].toFixed(3);
      add("number extra", "regions").textContent = image[REGIONS];
      if (data.truth) add("extra true", "true type").textContent = image[TRUE] ?? "–";
      return made;
    }

    function draw() {
      const pages = Math.max(1, Math.ceil(rows.length / PAGE));
      page = Math.min(Math.max(page, 0), pages - 1);
      const part = rows.slice(page * PAGE, (page + 1) * PAGE);
      table.tBodies[0].replaceChildren(...part.map(row));
      if (!part.length) {
        const cell = table.tBodies[0].insertRow().insertCell();
        cell.className = "empty";
        cell.colSpan = columns.length + 1;
        cell.textContent = "No image fits this choice.";
      }
      byId("shown").textContent = rows.length ? `${page * PAGE + 1}–${page * PAGE + part.length} of ${rows.length.toLocaleString("en")}` : "0 images";
      byId("previous").disabled = page === 0;
      byId("next").disabled = page === pages - 1;
      byId("previous").parentElement.hidden = pages === 1;
    }

    function update() {
      const text = byId("search").value.trim().toLowerCase();
      const kind = byId("kind").value, sure = byId("level").value;
      rows = data.images.filter((image) =>
        (!text || image[NAME].toLowerCase().includes(text)) &&
        (!kind || String(data.classes[image[KIND]][0]) === kind) &&
        (!sure || level(image[SURE]) === sure));
      rows.sort((a, b) => compare(a, b) || words.compare(a[NAME], b[NAME]));
      for (const cell of head.querySelectorAll("th")) {
        const own = Number(cell.dataset.key) === sorted;
        cell.ariaSort = own ? (direction > 0 ? "ascending" : "descending") : "none";
      }
      page = 0;
      draw();
    }

    for (const id of ["search", "kind", "level"]) byId(id).addEventListener("input", update);
    byId("previous").addEventListener("click", () => { page -= 1; draw(); });
    byId("next").addEventListener("click", () => { page += 1; draw(); });
    for (const link of document.querySelectorAll("a[data-class]")) {
      link.addEventListener("click", () => {
        byId("kind").value = link.dataset.class;
        byId("search").value = byId("level").value = "";
        update();
      });
    }
    for (const part of document.querySelectorAll("#images [hidden]")) part.hidden = false;
    update();
  }

  function viewer() {
    const dialog = byId("viewer");
    const SVG = "http://www.w3.org/2000/svg";
    let around = [], at = 0;

    function pane(svg, text) {
      const figure = node("figure");
      figure.append(svg, node("figcaption", "", text));
      return figure;
    }

    function show() {
      const button = around[at], of = button.dataset;
      const close = button.querySelector("svg").cloneNode(true);
      const panes = [];
      if (of.whole) {
        const whole = document.createElementNS(SVG, "svg");
        whole.setAttribute("viewBox", `0 0 ${of.width} ${of.height}`);
        const photo = document.createElementNS(SVG, "image");
        for (const [key, value] of Object.entries({ href: of.whole, width: of.width, height: of.height, preserveAspectRatio: "none" })) photo.setAttribute(key, value);
        whole.append(photo, close.querySelector(".marks").cloneNode(true));
        panes.push(pane(whole, `Whole image, ${of.width} × ${of.height} px`));
        panes.push(pane(close, "Close-up"));
      } else {
        panes.push(pane(close, `Whole image, ${of.width} × ${of.height} px`));
      }
      dialog.querySelector(".panes").replaceChildren(...panes);
      byId("viewer-name").textContent = of.name;
      const kind = button.closest(".card").querySelector("h3").firstChild.textContent.trim();
      dialog.querySelector(".note").textContent = `${kind} · confidence ${of.level}, ${of.sure} · ${of.note}`;
      dialog.querySelector(".place").textContent = `${at + 1} of ${around.length}`;
      dialog.querySelector("[data-do=previous]").disabled = at === 0;
      dialog.querySelector("[data-do=next]").disabled = at === around.length - 1;
    }

    function step(by) {
      if (at + by < 0 || at + by >= around.length) return;
      at += by;
      show();
    }

    for (const button of document.querySelectorAll(".open")) {
      button.addEventListener("click", () => {
        around = [...button.closest(".tiles").querySelectorAll(".open")];
        at = around.indexOf(button);
        byId("viewer-overlay").checked = byId("overlay").checked;
        show();
        dialog.showModal();
      });
    }
    dialog.addEventListener("click", (event) => {
      const what = event.target.dataset.do;
      if (what === "close" || event.target === dialog) dialog.close();
      if (what === "previous") step(-1);
      if (what === "next") step(1);
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
  }

  function map() {
    const svg = byId("plot"), hint = byId("hint"), ring = byId("ring");
    const REACH = 26;
    let alone = null;

    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      const x = (event.clientX - box.left) / scale, y = (event.clientY - box.top) / scale;
      let best = null, least = (REACH / Math.min(1, scale)) ** 2;
      for (const point of data.points) {
        if (alone !== null && String(data.classes[point[2]][0]) !== alone) continue;
        const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
        if (distance < least) { least = distance; best = point; }
      }
      if (best) tell(best, scale, box); else leave();
    });
    svg.addEventListener("pointerleave", leave);

    function leave() {
      hint.hidden = true;
      ring.style.visibility = "hidden";
    }

    function tell(point, scale, box) {
      const [x, y, kind, sure, name, thumb] = point;
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
      ring.style.visibility = "visible";
      const text = node("div");
      const title = node("b");
      title.append(chip(data.classes[kind][2]), data.classes[kind][1]);
      text.append(title, `${level(sure)}, ${percent(sure)}`, node("small", "", name));
      hint.replaceChildren(text);
      if (thumb >= 0) {
        const picture = node("img");
        picture.alt = "";
        picture.src = data.thumbnails[thumb];
        hint.prepend(picture);
      }
      hint.hidden = false;
      const left = x * scale + 16, top = y * scale + 16;
      hint.style.left = Math.max(0, Math.min(left, box.width - hint.offsetWidth - 4)) + "px";
      hint.style.top = (top + hint.offsetHeight > box.height ? Math.max(0, y * scale - hint.offsetHeight - 14) : top) + "px";
    }

    const keys = document.querySelectorAll(".keys button");
    for (const key of keys) {
      key.addEventListener("click", () => {
        alone = alone === key.dataset.class ? null : key.dataset.class;
        for (const other of keys) other.ariaPressed = String(alone === other.dataset.class);
        for (const part of svg.querySelectorAll("[data-class]")) {
          part.classList.toggle("faint", alone !== null && part.dataset.class !== alone);
        }
        leave();
      });
    }
  }

  if (byId("table")) images();
  viewer();
  if (byId("plot")) map();
})();
