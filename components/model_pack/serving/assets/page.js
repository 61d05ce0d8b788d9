"use strict";
const at = (id) => document.getElementById(id);
const FLOOR = 0.01;
const SVG = "http://www.w3.org/2000/svg";
const state = { model: null, answer: null, hidden: new Set(), asking: 0, url: "" };

function make(name, text, attributes) {
  const element = document.createElement(name);
  element.textContent = text;
  Object.assign(element, attributes);
  return element;
}

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const colour = (id) => `hsl(${(142 + id * 137.508) % 360} 85% 62%)`; // as in drawn images

function ownThreshold(name) {
  const inference = state.model ? state.model.inference : {};
  const own = (inference.class_confidence || {})[name];
  return own ?? inference.confidence ?? 0.25;
}

function shownBoxes() {
  const own = at("own").checked;
  const least = Number(at("confidence").value);
  return state.answer.boxes.filter((box) => !state.hidden.has(box.class) && box.score > (own ? ownThreshold(box.class) : least - 1e-9));
}

function say(text) { at("status").textContent = text; }

function fail(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function pick(index) {
  at("boxes").classList.toggle("picking", index !== null);
  for (const group of at("boxes").children) group.classList.toggle("picked", group.dataset.index === String(index));
}

function boxMark(box, index, unit) {
  const group = draw("g", { "data-index": index });
  const place = { x: box.x, y: box.y, width: box.width, height: box.height };
  group.append(draw("rect", { ...place, class: "halo" }), draw("rect", { ...place, stroke: colour(box.class_id) }));
  const label = `${box.class} ${box.score.toFixed(2)}`;
  const size = 13 * unit;
  const text = draw("text", { "font-size": size });
  text.style.fontSize = `${size}px`;
  text.textContent = label;
  group.append(text);
  at("boxes").append(group);
  const width = text.getComputedTextLength() + size * 0.6;
  const height = size * 1.35;
  const left = Math.max(0, Math.min(box.x, state.answer.width - width));
  const top = box.y >= height ? box.y - height : Math.min(box.y, Math.max(0, state.answer.height - height));
  const chip = draw("rect", { x: left, y: top, width, height, class: "chip" });
  chip.style.fill = colour(box.class_id);
  group.insertBefore(chip, text);
  text.setAttribute("x", left + size * 0.3);
  text.setAttribute("y", top + height * 0.74);
}

function showBoxes() {
  if (!state.answer) return;
  const boxes = shownBoxes();
  const canvas = at("boxes");
  canvas.replaceChildren();
  canvas.setAttribute("viewBox", `0 0 ${state.answer.width} ${state.answer.height}`);
  const unit = state.answer.width / Math.max(1, canvas.getBoundingClientRect().width);
  [...boxes].reverse().forEach((box, index) => boxMark(box, boxes.length - 1 - index, unit));
  at("rows").replaceChildren(...boxes.map(tableRow));
  const total = state.answer.boxes.length;
  at("count").textContent = `${boxes.length} shown of ${total} ${total === 1 ? "box" : "boxes"}`;
  at("shown-confidence").textContent = at("own").checked ? "the model's own" : Number(at("confidence").value).toFixed(2);
  at("confidence").setAttribute("aria-valuetext", at("shown-confidence").textContent);
}

function tableRow(box, index) {
  const row = make("tr", "", { tabIndex: 0 });
  const name = make("td", "");
  const swatch = make("span", "", { className: "swatch" });
  swatch.style.background = colour(box.class_id);
  name.append(swatch, box.class);
  const whole = (value) => value.toFixed(0);
  row.append(name, make("td", box.score.toFixed(3)), make("td", `${whole(box.x)}, ${whole(box.y)}`));
  row.append(make("td", `${whole(box.width)} \u00d7 ${whole(box.height)}`));
  for (const event of ["mouseenter", "focus"]) row.addEventListener(event, () => pick(index));
  for (const event of ["mouseleave", "blur"]) row.addEventListener(event, () => pick(null));
  return row;
}

function showClasses() {
  const found = new Map(state.answer.boxes.map((box) => [box.class, box.class_id]));
  const names = [...found.keys()].sort((one, other) => found.get(one) - found.get(other));
  at("classes").replaceChildren(make("legend", names.length ? "Classes" : "No classes found"), ...names.map((name) => {
    const label = make("label", "", { className: "check" });
    const box = make("input", "", { type: "checkbox", checked: !state.hidden.has(name) });
    const swatch = make("span", "", { className: "swatch" });
    swatch.style.background = colour(found.get(name));
    const text = make("span", "");
    text.append(swatch, name);
    label.append(box, text);
    box.addEventListener("change", () => {
      if (box.checked) state.hidden.delete(name); else state.hidden.add(name);
      showBoxes();
    });
    return label;
  }));
}

async function showPicture(file) {
  if (state.url) URL.revokeObjectURL(state.url);
  state.url = URL.createObjectURL(file);
  const picture = at("picture");
  picture.src = state.url;
  try {
    await picture.decode();
    return true;
  } catch {
    return false;
  }
}

async function ask(file) {
  const form = new FormData();
  form.append("image", file, file.name || "image");
  form.append("conf", String(FLOOR));
  const reply = await fetch("predict", { method: "POST", body: form });
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(body.error || `The service answered with ${reply.status}.`);
  return body;
}

async function look(file) {
  const turn = ++state.asking;
  fail("");
  say(`Looking at ${file.name || "the image"} \u2026`);
  const started = performance.now();
  try {
    const answer = await ask(file);
    if (turn !== state.asking) return;
    const seconds = (performance.now() - started) / 1000;
    const visible = await showPicture(file);
    if (turn !== state.asking) return;
    state.answer = answer;
    state.hidden.clear();
    at("figure").hidden = at("panel").hidden = false;
    document.querySelector("main").classList.add("found");
    at("frame").classList.toggle("blank", !visible);
    at("frame").style.setProperty("--ratio", answer.width / answer.height);
    at("frame").style.setProperty("--natural", `${answer.width}px`);
    at("picture").alt = `${file.name || "The image"}, ${answer.width} by ${answer.height} pixels`;
    at("caption").textContent = `${file.name || "pasted image"}, ${answer.width} \u00d7 ${answer.height} pixels, answered in ${seconds.toFixed(2)} s`
      + (visible ? "" : " (this browser cannot show the format; the boxes are right)");
    showClasses();
    showBoxes();
    const count = shownBoxes().length;
    say(count ? `${count} ${count === 1 ? "object" : "objects"} found.` : "Nothing found at this confidence.");
  } catch (error) {
    if (turn !== state.asking) return;
    say("");
    fail(error instanceof TypeError ? "The service cannot be reached." : error.message);
  }
}

function take(files) {
  const images = [...(files || [])];
  if (!images.length) return;
  if (images.length > 1) say("One image at a time: the first is taken.");
  look(images[0]);
}

function listen() {
  const drop = at("drop");
  at("file").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
    else fail("What was dropped is no file: save the image first, then drop it.");
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });
  at("confidence").addEventListener("input", () => { at("own").checked = false; showBoxes(); });
  at("own").addEventListener("change", showBoxes);
  window.addEventListener("resize", showBoxes);
}

function tellModel(model) {
  state.model = model;
  document.title = at("name").textContent = model.tag;
  const many = model.classes.length;
  const serving = model.serving;
  at("facts").textContent = `finds ${many} ${many === 1 ? "class" : "classes"} \u00b7 ${serving.runtime} on ${serving.device}`;
  const own = Object.entries(model.inference.class_confidence).map(([name, value]) => `${name} ${value}`).join(", ");
  const facts = {
    Classes: model.classes.join(", "),
    "Confidence from": own ? `${model.inference.confidence} (${own})` : String(model.inference.confidence),
    "Image size": `${model.imgsz} pixels` + (model.inference.tile ? `, in tiles of ${model.inference.tile} pixels` : ""),
    Runtimes: ["torch", ...model.runtimes].join(", "),
    "Trained on": Object.entries(model.datasets).map(([split, version]) => `${split} ${version.slice(0, 12)}`).join(", "),
    Content: model.content_digest,
    Licences: model.licences.join(" "),
  };
  at("model").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  at("confidence").value = model.inference.confidence;
  showBoxes();
}

async function begin() {
  listen();
  at("address").textContent = new URL("predict", location.href).href;
  try {
    tellModel(await (await fetch("model")).json());
  } catch {
    fail("The model does not say what it is: is the service still running?");
  }
}

begin();
