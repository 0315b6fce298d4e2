// The page: a picture or a work is asked about, the works most like it are hung on the wall.
//
// One question at a time: a new one aborts the one before, and an answer that comes late all the
// same is dropped, so that it never overwrites the answer to a later question.

const K = 5;
const PATIENCE_MS = 30_000;
const NOT_READY_MS = 2_000;
const $ = (id) => document.getElementById(id);

let asking = null; // AbortController of the question being answered
let lastFile = null; // to go back to, from a work's own question
let key = keptKey(); // where the service asks for one

const TITLE = $("heading").textContent;

class Refused extends Error {
  constructor(status, { title, detail }) {
    super(`${title}: ${detail}.`);
    this.needsKey = status === 401;
    this.mayPass = status >= 500; // the same picture may be answered later
  }
}

function ask(subject, question) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const signal = AbortSignal.any([mine.signal, AbortSignal.timeout(PATIENCE_MS)]);
  clear("searching", "Searching the collection");
  show(subject);
  question(signal).then(
    (answer) => mine === asking && hang(answer),
    (error) => mine === asking && fail(error, () => ask(subject, question)),
  );
}

function askAboutFile(file) {
  lastFile = file;
  if (location.hash) history.pushState(null, "", location.pathname);
  const form = new FormData();
  form.append("image", file, "image"); // the file's own name stays here
  const subject = { picture: URL.createObjectURL(file), text: file.name, heading: "Your picture" };
  ask(subject, (signal) => fetchJson(`v1/search?k=${K}`, { method: "POST", body: form, signal }));
}

function askAboutWork(id) {
  const path = `v1/items/${encodeURIComponent(id)}`;
  const subject = { picture: `${path}/thumbnail`, text: "", heading: "More like this" };
  ask(subject, async (signal) => {
    const work = await fetchJson(path, { signal });
    subject.text = [work.title, work.artist].filter(Boolean).join(", ");
    showText(subject.text);
    return fetchJson(`${path}/similar?k=${K}`, { signal });
  });
  $("heading").focus(); // the link that was followed is gone
}

function fetchWithKey(url, options = {}) {
  if (!key) return fetch(url, options);
  const bytes = String.fromCharCode(...new TextEncoder().encode(key)); // it need not be ASCII
  return fetch(url, { ...options, headers: { Authorization: `Bearer ${bytes}` } });
}

async function fetchJson(url, options) {
  const response = await fetchWithKey(url, options);
  const body = await response.json();
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

// Pictures are fetched where they need a key, which an image cannot bring.
async function draw(image, path) {
  image.dataset.path = path;
  image.removeAttribute("src");
  if (!key || path.startsWith("blob:")) return (image.src = path);
  const response = await fetchWithKey(path).catch(() => null);
  const url = response?.ok ? URL.createObjectURL(await response.blob()) : path;
  if (image.dataset.path === path) image.src = url; // unless it is another's meanwhile
}

// The key is the tab's, and gone with it.

function keptKey() {
  try {
    return sessionStorage.getItem("key") ?? "";
  } catch {
    return ""; // a browser that keeps nothing
  }
}

function keepKey(text) {
  key = text;
  try {
    sessionStorage.setItem("key", text);
  } catch {
    // it is kept until the page is left
  }
}

function askForKey(again) {
  const isWrong = key !== "";
  keepKey("");
  complain(
    isWrong
      ? "That key is not one of this service’s. Please check it and try again."
      : "This collection asks for a key. It is kept until you close this tab.",
  );
  $("key").value = "";
  $("key-form").hidden = false;
  $("key-form").onsubmit = (event) => {
    event.preventDefault();
    keepKey($("key").value.trim());
    $("heading").focus(); // the form is gone
    again();
  };
  $("key").focus();
}

// What is on the page

function clear(state, status = "") {
  document.body.dataset.state = state;
  $("wall").replaceChildren();
  $("message").hidden = true;
  $("status").textContent = status;
}

function show({ picture, text, heading }) {
  const preview = $("preview");
  if (preview.src.startsWith("blob:") && preview.src !== picture) URL.revokeObjectURL(preview.src);
  $("asked").hidden = false;
  draw(preview, picture);
  $("heading").textContent = heading;
  showText(text);
}

function showText(text) {
  $("subject").textContent = text;
  $("subject").hidden = !text;
}

function forget() {
  $("asked").hidden = true;
  $("heading").textContent = TITLE;
  showText("");
}

function hang({ results, nothing_alike }) {
  const works = results.length === 1 ? "1 work" : `${results.length} works`;
  const said = nothing_alike ? "Nothing here is much like this picture. " : "";
  clear(
    "answered",
    results.length ? `${said}${works}, the most similar first` : "No works to compare",
  );
  $("wall").replaceChildren(...results.map(card));
}

function card(work) {
  const node = $("work").content.cloneNode(true);
  const set = (selector, text) => {
    const element = node.querySelector(selector);
    element.textContent = text ?? "";
    element.hidden = !text;
  };
  const share = Math.max(0, work.score);
  set(".title", work.title);
  set(".artist", work.artist);
  const colour = work.greyscale ? "black and white" : null;
  const facts = [work.date, work.label?.replaceAll("_", " "), colour];
  set(".facts", facts.filter(Boolean).join(" · "));
  const similar = `${Math.round(share * 100)} % similar`;
  set(".score", work.copy_of_query ? `Same work, ${similar}` : similar);
  node.querySelector(".scale-part").style.setProperty("--share", share);
  const picture = node.querySelector(".picture");
  picture.alt = work.title;
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
  draw(picture, work.thumbnail);
  const more = node.querySelector(".more");
  more.href = `#like=${encodeURIComponent(work.id)}`;
  more.setAttribute("aria-label", `More like ${work.title}`);
  return node;
}

function fail(error, again) {
  if (error.needsKey) return askForKey(again);
  if (error instanceof Refused) return complain(error.message, error.mayPass ? again : null);
  if (error.name === "TimeoutError") return complain("The service took too long to answer.", again);
  return complain("The service cannot be reached. Is the network up?", again);
}

function complain(text, again = null) {
  asking?.abort();
  asking = null;
  if ($("asked").hidden) forget();
  clear($("asked").hidden ? "empty" : "failed");
  $("message-text").textContent = text;
  $("message").hidden = false;
  $("key-form").hidden = true;
  $("retry").hidden = !again;
  $("retry").onclick = again;
}

// Ways to bring a picture

function take(files) {
  if (files.length === 1) return askAboutFile(files[0]);
  if (files.length > 1) complain(`One picture at a time, please: these are ${files.length} files.`);
}

function takeDropped({ items, files }) {
  const entries = [...items].filter((item) => item.kind === "file");
  if (entries.some((item) => item.webkitGetAsEntry?.()?.isDirectory)) {
    return complain("That is a folder. Please drop one picture out of it.");
  }
  if (entries.length === 0) {
    return complain("That is not a file. Save the picture first, then drop the file here.");
  }
  take(files);
}

function follow() {
  const id = new URLSearchParams(location.hash.slice(1)).get("like");
  if (id) return askAboutWork(id);
  if (lastFile) return askAboutFile(lastFile);
  asking?.abort();
  asking = null;
  forget();
  clear("empty");
}

async function introduce() {
  try {
    const { works, index_version, model_version } = await fetchJson("readyz");
    $("colophon").textContent =
      `${works.toLocaleString("en")} works · release ${index_version} · model ${model_version}`;
  } catch (error) {
    $("colophon").textContent =
      error instanceof Refused ? error.message : "The service cannot be reached.";
    setTimeout(introduce, NOT_READY_MS);
  }
}

let depth = 0; // dragenter and dragleave also come from the elements inside
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++depth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  takeDropped(event.dataTransfer);
});
addEventListener("paste", (event) => take(event.clipboardData.files));
addEventListener("hashchange", follow);
$("preview").addEventListener("error", () => {
  $("asked").hidden = true;
  if (document.body.dataset.state !== "failed") return;
  forget();
  document.body.dataset.state = "empty";
});
$("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
introduce();
if (location.hash) follow();
